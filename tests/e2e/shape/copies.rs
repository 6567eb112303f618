//! Copies: how many there are, by which lines they go, and where their budgets end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::VIP_NETNS;
use pathsteer_lab::capture::{Capture, FiveTuple};
use pathsteer_lab::network::plan::{EDGE, TUNNEL_PORTS, UPLINKS};
use pathsteer_lab::network::provider::EDGE_SIDE;

use crate::kernel::shell;
use crate::shape::course::Course;
use crate::shape::declare;
use crate::shape::flow::whole;
use crate::shape::tally::{self, Tallies, get};
use crate::stage::Stage;

const PERIOD: Duration = Duration::from_millis(2);
const DURATION: Duration = Duration::from_millis(500);
/// Handshakes, keepalives and control packets go on over a line that carries nothing else.
const IDLE: u64 = 30;
/// A datagram of this size is 1,060 bytes with the headers of UDP, IPv4 and the shim.
const SIZE: usize = 1_000;
const COPY_BYTES: u64 = 1_060;
const BYTES_PER_SECOND: u64 = 50_000;
const BYTES_PER_MONTH: u64 = 1_000_000;

pub fn lines(stage: &mut Stage) -> Result<()> {
    let rules = shell(stage.edge(), VIP_NETNS, "nft list table ip pathsteer")?;
    ensure!(rules.matches("dup to").count() == UPLINKS.len(), "one rule copies for each uplink: {rules}");
    for copies in [2, 1] {
        declare::apply(stage, &[declare::copies(copies)])?;
        let paths = stage.fleet.wait_for_paths("so many copies", |paths| paths.copies.len() == usize::from(copies))?;
        let carries: Vec<bool> =
            UPLINKS.iter().map(|uplink| uplink.name == paths.active || paths.copies.contains(&uplink.name)).collect();
        tally::exact(stage, copies.into(), |stage| {
            for course in Course::all(&stage.network) {
                let captures = UPLINKS
                    .iter()
                    .map(|uplink| Capture::start(stage.network.host(uplink.router), EDGE_SIDE, is_tunnel));
                let captures: Vec<Capture> = captures.collect::<Result<_>>()?;
                let sent = whole(&course, PERIOD, 200, DURATION)?.sent;
                for ((capture, uplink), carries) in captures.into_iter().zip(&UPLINKS).zip(&carries) {
                    let seen = capture.finish()?;
                    let flows: &BTreeMap<_, u64> = if course.is_up() { &seen.received } else { &seen.sent };
                    let carried: u64 = flows.values().sum();
                    let wanted = if *carries { sent..=sent + IDLE } else { 0..=IDLE };
                    ensure!(wanted.contains(&carried), "{} carried {carried} of {sent}", uplink.name);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

pub fn rate(stage: &mut Stage) -> Result<()> {
    declare::apply(
        stage,
        &[declare::uplink(&UPLINKS[1], &format!("copyBudget: {{bytesPerSecond: {BYTES_PER_SECOND}}}"))],
    )?;
    let (sent, copied) = copied_up(stage, Duration::from_secs(2))?;
    // Two seconds' worth, and what was saved up in the second before.
    let most = 3 * BYTES_PER_SECOND / COPY_BYTES + 1;
    let least = BYTES_PER_SECOND / COPY_BYTES;
    ensure!((least..=most).contains(&copied), "{copied} of {sent} packets were copied, {least} to {most} may be");
    stage.remark(format!("{copied} of {sent} packets were copied at {BYTES_PER_SECOND} bytes/s"));
    Ok(())
}

pub fn quota(stage: &mut Stage) -> Result<()> {
    let budget = format!("copyBudget: {{bytesPerMonth: {BYTES_PER_MONTH}}}");
    declare::apply(stage, &[declare::uplink(&UPLINKS[1], &budget)])?;
    let (sent, copied) = copied_up(stage, Duration::from_secs(3))?;
    let most = BYTES_PER_MONTH / COPY_BYTES;
    ensure!(
        copied <= most && copied + 5 >= most && sent > most,
        "{copied} of {sent} packets were copied, {most} may be"
    );
    stage.remark(format!("{copied} of {sent} packets were copied within {BYTES_PER_MONTH} bytes"));

    stage.fleet.agent(EDGE)?.kill()?;
    stage.fleet.agent(EDGE)?.restart()?;
    stage.as_planned()?;
    let (sent, copied) = copied_up(stage, DURATION)?;
    ensure!(copied == 0, "{copied} of {sent} packets were copied after the agent has begun anew");

    let dearer = budget + ", mtu: 1400";
    declare::apply(stage, &[declare::uplink(&UPLINKS[1], &dearer)])?;
    let (sent, copied) = copied_up(stage, DURATION)?;
    ensure!(copied == 0, "{copied} of {sent} packets were copied after a change of the plan");
    Ok(())
}

/// Sends up for so long, of which nothing may be lost; how many packets the edge sent, and how many copies reached the
/// anchor.
fn copied_up(stage: &mut Stage, duration: Duration) -> Result<(u64, u64)> {
    stage.on_fiber(true)?;
    let course = Course::all(&stage.network).into_iter().next().context("the first leads up")?;
    let before = Tallies::at_rest(stage)?;
    whole(&course, PERIOD, SIZE, duration)?;
    let since = Tallies::at_rest(stage)?.since(&before);
    let (sent, delivered) = (get(&since.edge, "sent"), get(&since.anchor, "delivered"));
    ensure!(delivered == sent, "{delivered} of {sent} packets were delivered");
    Ok((sent, get(&since.anchor, "duplicate")))
}

fn is_tunnel(tuple: &FiveTuple) -> bool {
    [tuple.source.1, tuple.destination.1].iter().any(|port| TUNNEL_PORTS.contains(port))
}
