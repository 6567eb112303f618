//! Policies that come and go before another one: what that one says of new flows holds at every moment.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::traffic::{Marker, Stamp};
use pathsteer_lab::{clock, netns};

use super::eyes::Eyes;
use crate::shape::declare;
use crate::stage::Stage;
use crate::treatment::{BEHIND_ANCHOR, PLAYER};

/// Ports of the example's policy for calls, each of which makes another flow.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=20_000;
/// Between two flows of a family.
const PERIOD: Duration = Duration::from_micros(500);
const CHANGES: usize = 6;
/// Goes before the policy for calls and is of another shape.
const EARLIER: &str = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: earlier}
spec:
  priority: 10
  match: [{protocol: udp, prefix: 192.0.2.128/25}, {protocol: udp, prefix: \"2001:db8:99::/48\"}]
  treatment: bestEffort
";

pub fn case(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let eyes = Eyes::on_wires(&stage.network)?;
    let end = Arc::new(AtomicBool::new(false));
    let ending = Arc::clone(&end);
    let calls = stage.network.host(PLAYER.host).net.thread("calls", move || call(&ending))?;
    for change in 0..CHANGES {
        eyes.during(&format!("change {change}"));
        declare::apply(stage, &[EARLIER.to_owned()])?;
        stage.fleet.cli(&["delete", "trafficpolicy", "earlier"])?;
        stage.ready()?;
    }
    end.store(true, Relaxed);
    let begun = netns::join(calls)?;
    let verdict = eyes.finish()?;
    stage.remark(format!("{begun} calls began meanwhile"));
    ensure!(verdict.leaks.is_empty(), "of {begun} calls were in clear: {:#?}", verdict.leaks);
    Ok(())
}

/// Begins one call after another; how many.
fn call(end: &AtomicBool) -> Result<u64> {
    let mut ends = Vec::new();
    for (from, to) in PLAYER.addresses.into_iter().zip(BEHIND_ANCHOR.addresses) {
        ends.push((from, to, UdpSocket::bind(SocketAddr::new(from, 0))?));
    }
    let (mut begun, mut due) = (0, clock::now());
    while !end.load(Relaxed) {
        for port in PORTS {
            for (_, to, socket) in &ends {
                let payload = Stamp { run: 0, sequence: begun, sent: due }.write(Marker::SURVIVABLE, 0);
                // What the kernel refuses leaks nowhere.
                let _ = socket.send_to(&payload, SocketAddr::new(*to, port));
                begun += 1;
            }
            due += PERIOD;
            clock::sleep_until(due);
            if end.load(Relaxed) {
                break;
            }
        }
        // Other ports here, other flows.
        for (from, _, socket) in &mut ends {
            *socket = UdpSocket::bind(SocketAddr::new(*from, 0))?;
        }
    }
    Ok(begun)
}
