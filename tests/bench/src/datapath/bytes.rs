//! Bytes on the wire for a payload, as interfaces count them: Ethernet headers included, no preamble.

use std::time::Duration;

use anyhow::Result;

use super::rigs::{Carrier, Case, Rigs, sent_by, sent_bytes};
use crate::inventory::SLOTS;
use crate::plan::wire;
use crate::report::Row;
use crate::series::{Discipline, interleave};
use crate::traffic::udp::Pace;
use crate::traffic::{Window, udp};
use pathsteer_crds::ownership::uplink_netns;

const ROUNDS: usize = 5;
const LENGTH: Duration = Duration::from_millis(300);
/// One at a time: a veth counts several that WireGuard's worker sends in one piece as one, with one header.
const PACE: Pace = Pace::PerMillisecond(1);
/// Bytes of payload, as in a call.
const PAYLOAD: usize = 200;

/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (medium, cases) in [("veth", rigs.on_veth()?), ("WireGuard", rigs.on_wireguard()?)] {
        let all = interleave(&cases, ROUNDS, Discipline::Saturating, |case| one(case, medium))?;
        for (case, series) in cases.iter().zip(&all) {
            let metric = format!("bytes for {PAYLOAD} B of payload, {medium}, {}", case.name);
            let reference = format!("bytes for {PAYLOAD} B of payload, {medium}, {}", cases[0].name);
            let row = Row::of(metric, "B", series);
            rows.push(if case.name == cases[0].name { row } else { row.compared(series, &reference, &all[0]) });
        }
    }
    Ok(rows)
}

/// Bytes a packet; nothing when some were lost, and perhaps never left.
fn one(case: &Case, medium: &str) -> Result<Option<f64>> {
    case.carrier.prepare()?;
    let before = sent(&case.carrier, medium)?;
    let window = Window::after(Duration::ZERO, LENGTH);
    let outcome = case.carrier.with(|ends| {
        let at = ends.server_address();
        udp::stream(&ends.client, &ends.server, at, PAYLOAD, PACE, window)
    })?;
    let bytes = (sent(&case.carrier, medium)? - before) as f64;
    Ok((outcome.delivered == outcome.sent).then_some(bytes / outcome.sent as f64))
}

/// Bytes that have left the edge so far.
fn sent(carrier: &Carrier, medium: &str) -> Result<u64> {
    match carrier {
        Carrier::Chain(chain) => sent_by(&chain.uplink, &[if medium == "veth" { "t1" } else { "wan" }]),
        Carrier::Shim(shim) => {
            let rig = shim.rig.borrow();
            let by = |slot: u8| {
                let link = if medium == "veth" { wire(slot) } else { format!("wan{slot}") };
                rig.edge.within(&uplink_netns(slot), || sent_bytes(&link))
            };
            SLOTS.into_iter().map(by).sum()
        }
    }
}
