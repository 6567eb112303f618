//! A tunnel over IPv6 beside tunnels over IPv4.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::capture::{Capture, FiveTuple};
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{ANCHOR6, EDGE, TUNNEL_PORTS, UPLINKS};
use pathsteer_lab::network::provider::EDGE_SIDE;

use crate::shape::course::Course;
use crate::shape::{copied_and_alone, declare};
use crate::stage::Stage;
use crate::talk::talk;

/// Long enough for two switches.
const DURATION: Duration = Duration::from_secs(6);
const ROUNDS: u32 = 50;

pub fn case(stage: &mut Stage) -> Result<()> {
    let (over_v6, over_v4) = (&UPLINKS[0], &UPLINKS[1]);
    declare::apply(stage, &[declare::anchor(1_500), declare::uplink(over_v6, "underlay: ipv6")])?;
    let anchor = SocketAddr::new(ANCHOR6.into(), TUNNEL_PORTS.start() + u16::from(over_v6.slot) - 1).to_string();
    stage.until("the tunnel has shaken hands over IPv6", |stage| {
        let tunnels = stage.report(EDGE)?.tunnels;
        let tunnel = tunnels.iter().find(|tunnel| tunnel.slot == over_v6.slot);
        Ok(tunnel
            .is_some_and(|tunnel| tunnel.endpoint.as_ref() == Some(&anchor) && tunnel.handshake_age_seconds.is_some()))
    })?;
    copied_and_alone(stage, |stage| {
        let capture = Capture::start(stage.network.host(over_v6.router), EDGE_SIDE, is_tunnel)?;
        let talked = Course::all(&stage.network).iter().try_for_each(|course| {
            let (near, far) = course.addresses();
            talk((&course.from, near), (&course.to, far), ROUNDS)
        });
        let seen = capture.finish()?;
        talked?;
        for (way, flows) in [("up", &seen.received), ("down", &seen.sent)] {
            let over_v4: u64 = flows.iter().filter(|(tuple, _)| tuple.source.0.is_ipv4()).map(|(_, count)| count).sum();
            let over_v6 = flows.values().sum::<u64>() - over_v4;
            let least = u64::from(4 * ROUNDS);
            ensure!(over_v6 >= least && over_v4 == 0, "{way}: {over_v6} datagrams over IPv6, {over_v4} over IPv4");
        }
        Ok(())
    })?;
    stage.nobody_notices(DURATION, |_, fleet, _, zero| {
        clock::sleep_until(zero);
        for uplink in [over_v4, over_v6] {
            fleet.cli(&["uplink", "force", &format!("{EDGE}/{}", uplink.name)])?;
            fleet.wait_for_paths("the forced uplink", |paths| paths.active == uplink.name)?;
        }
        ensure!(clock::now() < zero + DURATION, "the switches took longer than the traffic");
        Ok(())
    })
}

fn is_tunnel(tuple: &FiveTuple) -> bool {
    [tuple.source.1, tuple.destination.1].iter().any(|port| TUNNEL_PORTS.contains(port))
}
