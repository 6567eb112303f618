//! Dead tunnels: what was meant for them is on no wire in clear. And the proof that the eyes see: without what forbids
//! it, the same packets are there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{ANCHOR_NETNS, NFT_TABLE, anchor_tunnel, edge_tunnel, uplink_netns};
use pathsteer_lab::capture::{PacketSocket, Watch};
use pathsteer_lab::network::plan::{CLIENT, INTERNET, LAN, SERVER, UPLINKS, WAN};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::traffic::{Datagrams, udp};
use pathsteer_lab::{clock, netns};

use crate::kernel::{kill_process, shell, worker};
use crate::packet;
use crate::stage::Stage;
use crate::talk::{ENDS, talk};

const PERIOD: Duration = Duration::from_millis(1);
const DURATION: Duration = Duration::from_secs(1);
/// The slowest line holds a packet that long.
const FLIGHT: Duration = Duration::from_millis(200);

/// Wire and what was seen on it, to how many packets.
type Leaks = BTreeMap<(&'static str, &'static str), u64>;

pub fn case(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let slot = UPLINKS[0].slot;
    let (uplink, tunnel) = (uplink_netns(slot), edge_tunnel(slot, 1));
    // Nobody may bring them back meanwhile.
    stage.fleet.kill_agents()?;
    for node in [stage.edge(), stage.anchor()] {
        kill_process(worker(node, slot)?)?;
    }
    let leaks = send(stage)?;
    ensure!(leaks.is_empty(), "with dead workers in clear: {leaks:?}");

    shell(stage.edge(), &uplink, &format!("ip link delete {tunnel}"))?;
    shell(stage.anchor(), ANCHOR_NETNS, &format!("ip link delete {}", anchor_tunnel(slot)))?;
    let leaks = send(stage)?;
    ensure!(leaks.is_empty(), "without the devices of the tunnel in clear: {leaks:?}");

    shell(stage.edge(), &uplink, "ip route delete blackhole 10.100.0.0/16 metric 4000")?;
    shell(stage.edge(), &uplink, &format!("nft delete table inet {NFT_TABLE}"))?;
    let leaks = send(stage)?;
    let (sent, seen) = (DURATION.as_millis() / PERIOD.as_millis(), leaks.get(&(UPLINKS[0].name, "payload")));
    ensure!(seen.is_some_and(|seen| u128::from(*seen) > sent / 2), "what was laid open was not seen: {leaks:?}");
    stage.remark(format!("laid open on purpose: {leaks:?}"));

    stage.fleet.start_agents()?;
    stage.as_planned()?;
    stage.on_fiber(false)?;
    let (client, server) = ENDS[0];
    let (near, far) = (SocketAddr::new(client, 41_700), SocketAddr::new(server, 20_700));
    stage.until("the tunnel carries again", |stage| {
        let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
        Ok(talk((lan, near), (internet, far), 1).is_ok())
    })?;
    let leaks = send(stage)?;
    ensure!(leaks.is_empty(), "with tunnels up again in clear: {leaks:?}");
    Ok(())
}

/// Sends datagrams both ways and looks at every wire of a provider, and at the anchor's.
fn send(stage: &Stage) -> Result<Leaks> {
    let wires = UPLINKS.iter().map(|uplink| (uplink.name, EDGE_SIDE)).chain([(WAN, "dal0")]);
    let watches: Vec<_> = wires
        .map(|(host, interface)| {
            let socket = stage.network.host(host).net.run(|| PacketSocket::open(interface))?;
            Watch::start(socket, move |leaks: &mut Leaks, frame, _| {
                if let Some(what) = packet::leak(frame) {
                    *leaks.entry((host, what)).or_default() += 1;
                }
            })
        })
        .collect::<Result<_>>()?;
    let (near, far) = (SocketAddr::new(CLIENT.into(), 46_100), SocketAddr::new(SERVER.into(), 15_100));
    let start = clock::now() + Duration::from_millis(50);
    let span = (start, start + DURATION);
    let up = udp::send(stage.network.host(LAN), near, far, Datagrams::every(PERIOD, 0), span)?;
    let down = udp::send(stage.network.host(INTERNET), far, near, Datagrams::every(PERIOD, 0), span)?;
    for sender in [up, down] {
        netns::join(sender).context("sending")?;
    }
    clock::sleep_until(clock::now() + FLIGHT);
    let mut all = Leaks::new();
    for watch in watches {
        all.extend(watch.finish()?);
    }
    Ok(all)
}
