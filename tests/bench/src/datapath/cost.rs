//! Processor time a packet: of sender, receiver and workers, and of everything that forwards in their name. Paced, so that
//! nothing is lost and every packet counts.

use std::time::Duration;

use anyhow::Result;

use super::rigs::{Case, Rigs};
use crate::report::Row;
use crate::series::{Discipline, Series, interleave};
use crate::traffic::udp::Pace;
use crate::traffic::{Window, udp};

const ROUNDS: usize = 10;
const LENGTH: Duration = Duration::from_millis(400);
/// Bytes of payload, as in a call.
const PAYLOAD: usize = 200;
/// Packets a millisecond: far below what two processors carry encrypted and copied twice.
const PACE: usize = 5;
/// More lost than this share, and what a packet costs is not what was measured.
const LOST_AT_MOST: f64 = 0.01;

/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    // all in turn: what encryption costs is a difference between the two media
    let (mut veth, wireguard) = (rigs.on_veth()?, rigs.on_wireguard()?);
    veth.push(rigs.without_nft()?);
    let split = veth.len();
    let cases: Vec<Case> = veth.into_iter().chain(wireguard).collect();
    let all = interleave(&cases, ROUNDS, Discipline::Timed, one)?;
    let mut rows = Vec::new();
    for (index, (case, series)) in cases.iter().zip(&all).enumerate() {
        let medium = if index < split { "veth" } else { "WireGuard" };
        rows.push(Row::of(format!("processor time a packet, {medium}, {}", case.name), "us", series));
    }
    let difference = |metric: &str, above: usize, below: usize| more(metric, &all[above], &all[below]);
    rows.push(difference("processor time of the shim, veth", 1, 0));
    rows.push(difference("processor time of a copy, veth", 2, 1));
    rows.push(difference("processor time of the shim's nft rules, veth", 1, split - 1));
    rows.push(difference("processor time of encryption, both ends", split, 0));
    rows.push(difference("processor time of the shim, WireGuard", split + 1, split));
    rows.push(difference("processor time of a copy, WireGuard", split + 2, split + 1));
    Ok(rows)
}

/// What `above` costs more than `below`, round by round.
fn more(metric: &str, above: &Series<f64>, below: &Series<f64>) -> Row {
    Row { value: above.above(below), spread: None, ..Row::of(metric, "us", above) }
}

/// Microseconds a packet; nothing when too many were lost.
fn one(case: &Case) -> Result<Option<f64>> {
    case.carrier.prepare()?;
    let before = case.carrier.workers_time()?;
    let window = Window::after(Duration::ZERO, LENGTH);
    let outcome = case.carrier.with(|ends| {
        let at = ends.server_address();
        udp::stream(&ends.client, &ends.server, at, PAYLOAD, Pace::PerMillisecond(PACE), window)
    })?;
    let spent = outcome.processor + (case.carrier.workers_time()? - before);
    let lost = outcome.sent - outcome.delivered;
    let is_whole = lost as f64 <= LOST_AT_MOST * outcome.sent as f64;
    Ok(is_whole.then(|| spent.as_secs_f64() * 1e6 / outcome.delivered as f64))
}
