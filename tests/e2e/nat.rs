//! Address translation: at the anchor where it is asked for, and of flows that go straight to the internet.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use pathsteer_lab::network::plan::{ANCHOR, INTERNET, LAN};
use pathsteer_lab::traffic::Marker;

use crate::shape::declare;
use crate::stage::Stage;
use crate::talk::{ENDS, talk};
use crate::treatment::{BEHIND_ANCHOR, CREW, ON_THE_WEB, PLAYER, VISITOR, ask};

const POOLS: [&str; 2] = ["198.51.100.64/28", "2001:db8:51::100/124"];

/// Clients leave the anchor with an address of the pool each, which stays theirs from flow to flow; what the internet
/// opens finds them by their own.
pub fn anchor(stage: &mut Stage) -> Result<()> {
    let [v4, v6] = POOLS;
    let manifest = format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Anchor
metadata: {{name: dal-a}}
spec:
  endpoints: [{{address: {ANCHOR}}}]
  internet: {{interface: inet0, addresses: [198.51.100.1/24, \"2001:db8:51::1/64\"], gateways: []}}
  egress: {{snat: {{pool: [{v4}, \"{v6}\"]}}}}
"
    );
    declare::apply(stage, &[manifest])?;
    stage.on_fiber(true)?;
    for (family, pool) in POOLS.into_iter().enumerate() {
        let pool: IpNet = pool.parse()?;
        for client in [CREW, PLAYER] {
            let mut seen_as = BTreeSet::new();
            for flow in 0..4 {
                let near = SocketAddr::new(client.addresses[family], 44_000 + flow);
                let far = SocketAddr::new(BEHIND_ANCHOR.addresses[family], 5_060);
                let exchange = ask(stage, (client.host, near), (BEHIND_ANCHOR.host, far), Marker::SURVIVABLE)?;
                let lost = exchange.answers.lost.len();
                ensure!(lost == 0, "{near} has lost {lost} answers");
                seen_as.extend(exchange.seen_as.iter().map(SocketAddr::ip));
            }
            let one = seen_as.len() == 1 && seen_as.iter().all(|address| pool.contains(address));
            ensure!(one, "{} was seen as {seen_as:?}", client.addresses[family]);
        }
        let (client, server) = ENDS[family];
        let (near, far) = (SocketAddr::new(client, 44_100), SocketAddr::new(server, 20_900));
        let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
        talk((internet, far), (lan, near), 5).context("opened by the internet")?;
    }
    Ok(())
}

/// Two clients with one port each, the same, talk to one server straight by one uplink: it gets them apart.
pub fn same_port(stage: &mut Stage) -> Result<()> {
    for family in [0, 1] {
        let far = SocketAddr::new(ON_THE_WEB.addresses[family], 7_400);
        let mut seen_as: BTreeSet<SocketAddr> = BTreeSet::new();
        for (client, marker) in [(PLAYER, Marker::MIXED), (VISITOR, Marker::GUEST)] {
            let near = SocketAddr::new(client.addresses[family], 44_200);
            let exchange = ask(stage, (client.host, near), (ON_THE_WEB.host, far), marker)?;
            let lost = exchange.answers.lost.len();
            ensure!(lost == 0, "{near} has lost {lost} answers");
            let new = exchange.seen_as.into_iter().all(|from| seen_as.insert(from));
            ensure!(new, "two clients were seen as one: {seen_as:?}");
        }
        let hosts: BTreeSet<IpAddr> = seen_as.iter().map(SocketAddr::ip).collect();
        ensure!(seen_as.len() == 2 && hosts.len() == 1, "seen as {seen_as:?}");
    }
    Ok(())
}
