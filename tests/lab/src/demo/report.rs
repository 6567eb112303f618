//! The demo's report, for programs. Its format is fixed: `schema` counts changes that break who reads it; fields may come.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::scenario::Scenario;
use super::verdict::{Findings, lost_meanwhile, worst};
use crate::emulator::Way;
use crate::fleet::Paths;
use crate::measure::{Measurement, PerPath};

/// `target/demo/report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub setup: Setup,
    pub scenarios: Vec<Row>,
    pub rejected: Vec<Rejected>,
    pub repairs: Vec<RepairRow>,
    pub pass: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Setup {
    /// From `pathsteer apply` until every object was Ready.
    pub apply_to_ready_ms: u64,
}

/// One scenario in one direction, in the attempt that counts.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub direction: &'static str,
    /// The uplink in use when the traffic began, and those that carried copies.
    pub active: &'static str,
    pub copy: Vec<&'static str>,
    pub attempt: u32,
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub max_gap_ms: f64,
    pub ping_lost: u64,
    pub tcp_bytes_ok: bool,
    pub five_tuple_changed: bool,
    /// Tunnel packets per path, on the provider's side of the line.
    pub captured: PerPath,
    /// Second copies that the receiving node's datapath dropped.
    pub dedup_dropped: u64,
    /// Frames that the emulated lines dropped.
    pub emulator_dropped: u64,
    /// The longest stall of this machine, 0 when none was over 5 ms.
    pub hiccup_ms: f64,
    pub expected: &'static str,
    pub ok: bool,
}

/// Something that was taken away by hand, in the attempt that counts.
#[derive(Debug, Serialize)]
pub struct RepairRow {
    pub name: &'static str,
    pub attempt: u32,
    pub object: &'static str,
    /// Whether copies or routes do not cover for it.
    pub every_packet_needs_it: bool,
    /// From the hand that took it until it was seen again as before; absent when it was not put right.
    pub repair_ms: Option<f64>,
    pub lost_up: u64,
    pub lost_down: u64,
}

/// An attempt that proved nothing.
#[derive(Debug, Serialize)]
pub struct Rejected {
    pub name: &'static str,
    pub attempt: u32,
    pub reason: String,
    pub lost_up: u64,
    pub lost_down: u64,
    pub hiccup_ms: f64,
}

/// One attempt at a scenario.
pub struct Attempt<'a> {
    pub scenario: &'a Scenario,
    pub number: u32,
    pub paths: &'a Paths,
    pub measurement: &'a Measurement,
    pub findings: &'a Findings,
    /// Second copies dropped by the node that receives what goes that way.
    pub dedup_dropped: [(Way, u64); 2],
}

impl Attempt<'_> {
    /// Its two rows.
    pub fn rows(&self, ok: bool) -> [Row; 2] {
        let measurement = self.measurement;
        self.dedup_dropped.map(|(way, dedup_dropped)| {
            let direction = match way {
                Way::Up => &measurement.traffic.up,
                Way::Down => &measurement.traffic.down,
            };
            let datagrams = &direction.datagrams;
            Row {
                name: self.scenario.name,
                direction: way.word(),
                active: self.paths.active,
                copy: self.paths.copies.clone(),
                attempt: self.number,
                sent: datagrams.sent,
                received: datagrams.received,
                lost: datagrams.lost.len() as u64,
                duplicated: datagrams.duplicated,
                reordered: datagrams.reordered,
                max_gap_ms: milliseconds(datagrams.longest_gap),
                ping_lost: direction.ping_lost,
                tcp_bytes_ok: direction.stream.is_ok(),
                five_tuple_changed: !direction.changed_flows.is_empty(),
                captured: measurement.captured[&way].clone(),
                dedup_dropped,
                emulator_dropped: measurement.emulator_dropped[&way],
                hiccup_ms: milliseconds(worst(&measurement.stalls)),
                expected: self.scenario.expected_of(way).words(),
                ok,
            }
        })
    }

    /// What was put right in it.
    pub fn repairs(&self) -> impl Iterator<Item = RepairRow> {
        let traffic = &self.measurement.traffic;
        self.findings.repairs.iter().map(|repair| RepairRow {
            name: self.scenario.name,
            attempt: self.number,
            object: repair.what,
            every_packet_needs_it: repair.vital,
            repair_ms: repair.taken().map(milliseconds),
            lost_up: lost_meanwhile(&traffic.up, repair),
            lost_down: lost_meanwhile(&traffic.down, repair),
        })
    }

    /// Its entry among the rejected.
    pub fn rejected(&self, reason: String) -> Rejected {
        let traffic = &self.measurement.traffic;
        Rejected {
            name: self.scenario.name,
            attempt: self.number,
            reason,
            lost_up: traffic.up.datagrams.lost.len() as u64,
            lost_down: traffic.down.datagrams.lost.len() as u64,
            hiccup_ms: milliseconds(worst(&self.measurement.stalls)),
        }
    }
}

/// To a tenth.
fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Report {
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
}
