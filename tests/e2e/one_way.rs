//! A flow that only goes down: nothing of it goes up that could show the far end a new path, only control packets do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pathsteer_lab::capture::{Capture, FiveTuple};
use pathsteer_lab::hiccup::Meter;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{CLIENT, EDGE, INTERNET, LAN, SERVER, TUNNEL_PORTS, UPLINKS};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::traffic::{Datagrams, udp};
use pathsteer_lab::{clock, netns};

use crate::stage::Stage;

const PERIOD: Duration = Duration::from_millis(1);
/// Long enough for the order, the switch, and a look at the wires after it.
const DURATION: Duration = Duration::from_secs(5);
/// How long the wires are looked at.
const WINDOW: Duration = Duration::from_millis(500);
/// Several times the delay of the line that is left: what was under way on it has arrived.
const FLIGHT: Duration = Duration::from_millis(100);
/// Handshakes and keepalives go on over a path that carries nothing else.
const IDLE: u64 = 20;
const ATTEMPTS: u64 = 3;

pub fn case(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    for attempt in 1..=ATTEMPTS {
        let meter = Meter::start()?;
        let lost = attempt_move(stage, attempt)?;
        let stalls = meter.finish()?;
        if lost == 0 {
            return Ok(());
        }
        ensure!(!stalls.is_empty(), "{lost} packets were lost");
        stage.remark(format!("attempt {attempt}: {lost} packets lost, the machine stood still {} times", stalls.len()));
        stage.fleet.cli(&["uplink", "auto", EDGE])?;
        stage.on_fiber(false)?;
    }
    bail!("packets were lost in each of {ATTEMPTS} attempts")
}

/// Forces the other uplink while the flow runs; how many packets were lost.
fn attempt_move(stage: &mut Stage, run: u64) -> Result<usize> {
    let (near, far) = (SocketAddr::new(CLIENT.into(), 46_000), SocketAddr::new(SERVER.into(), 15_000));
    let receiver = udp::Receiver::start(stage.network.host(LAN), near, run)?;
    let start = clock::now() + FLIGHT;
    let span = (start, start + DURATION);
    let sender = udp::send(stage.network.host(INTERNET), far, near, Datagrams::every(PERIOD, run), span)?;
    let watched = watch(stage, start);
    let sent_at = netns::join(sender)?;
    let sent = sent_at.len() as u64;
    let received = receiver.finish(sent, sent_at.last().copied().unwrap_or_default())?;
    watched?;
    let account = received.accounting.close(sent);
    ensure!(account.duplicated == 0, "{} packets came twice", account.duplicated);
    Ok(account.lost.len())
}

fn watch(stage: &mut Stage, start: Duration) -> Result<()> {
    let (old, new) = (&UPLINKS[0], &UPLINKS[1]);
    clock::sleep_until(start + FLIGHT);
    let before = downward(&stage.network)?;
    let least = WINDOW.as_millis() as u64 * 9 / 10;
    ensure!(before[old.name] >= least && before[new.name] <= IDLE, "before the move, packets down: {before:?}");
    stage.fleet.cli(&["uplink", "force", &format!("{EDGE}/{}", new.name)])?;
    stage.fleet.wait_for_paths("the move", |paths| paths.active == new.name)?;
    clock::sleep_until(clock::now() + FLIGHT);
    let after = downward(&stage.network)?;
    ensure!(clock::now() < start + DURATION, "the move took longer than the flow");
    ensure!(after[new.name] >= least && after[old.name] <= IDLE, "after the move, packets down: {after:?}");
    Ok(())
}

/// Tunnel packets that each provider sends down in one [`WINDOW`].
fn downward(network: &Network) -> Result<BTreeMap<&'static str, u64>> {
    let captures: Vec<_> = UPLINKS
        .iter()
        .map(|uplink| Ok((uplink.name, Capture::start(network.host(uplink.name), EDGE_SIDE, is_from_tunnel)?)))
        .collect::<Result<_>>()?;
    clock::sleep_until(clock::now() + WINDOW);
    captures.into_iter().map(|(name, capture)| Ok((name, capture.finish()?.sent.values().sum()))).collect()
}

fn is_from_tunnel(tuple: &FiveTuple) -> bool {
    TUNNEL_PORTS.contains(&tuple.source.1)
}
