//! One measurement: traffic both ways, with everything beside it that is needed to judge it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use crate::capture::{Capture, FiveTuple, Transport};
use crate::emulator::Way;
use crate::hiccup::{Meter, Stall};
use crate::host::Host;
use crate::network::Network;
use crate::network::plan::{CLIENT, INTERNET, LAN, SERVER, TUNNEL_PORTS};
use crate::network::provider::EDGE_SIDE;
use crate::traffic::{self, Datagrams, Ends, Load, Outcome};

/// Between two datagrams of a flow: 1,000 a second.
pub const PERIOD: Duration = Duration::from_millis(1);
/// Long enough for 8,000 datagrams each way and a fault with time before and after it.
pub const DURATION: Duration = Duration::from_millis(8_500);

/// Packets per path, which is named after the provider's router.
pub type PerPath = BTreeMap<&'static str, u64>;

/// What was measured.
#[derive(Debug)]
pub struct Measurement {
    pub traffic: Outcome,
    pub stalls: Vec<Stall>,
    /// Tunnel packets on the providers' side of each line.
    pub captured: BTreeMap<Way, PerPath>,
    /// Frames the lines dropped, all paths together.
    pub emulator_dropped: BTreeMap<Way, u64>,
    /// Frames a capture missed.
    pub capture_missed: u32,
}

/// A client and a server of the lab, whose cards are called `eth0`, with their addresses of one family.
pub fn ends(client: (&Host, IpAddr), server: (&Host, IpAddr)) -> Ends {
    Ends {
        client: client.0.clone(),
        client_address: client.1,
        client_interface: "eth0",
        server: server.0.clone(),
        server_address: server.1,
        server_interface: "eth0",
    }
}

/// Measures the usual traffic of number `run` over IPv4 between a client of the van and the server in the internet for
/// `duration`, while `meanwhile` does what it wants on the calling thread.
///
/// # Errors
/// When a socket or capture is not to be had, or `meanwhile` fails.
pub fn measure(
    network: &Network,
    run: u64,
    duration: Duration,
    meanwhile: impl FnOnce(Duration) -> Result<()>,
) -> Result<Measurement> {
    let load = Load { datagrams: Datagrams::every(PERIOD, run), duration };
    let ends = ends((network.host(LAN), CLIENT.into()), (network.host(INTERNET), SERVER.into()));
    measure_between(network, &ends, load, meanwhile)
}

/// The same between any two hosts with any load.
///
/// # Errors
/// As [`measure`].
pub fn measure_between(
    network: &Network,
    ends: &Ends,
    load: Load,
    meanwhile: impl FnOnce(Duration) -> Result<()>,
) -> Result<Measurement> {
    let captures = network
        .plan()
        .uplinks()
        .map(|uplink| Ok((uplink.router, Capture::start(network.host(uplink.router), EDGE_SIDE, is_tunnel)?)))
        .collect::<Result<Vec<_>>>()?;
    let before = dropped(network);
    let meter = Meter::start()?;
    let traffic = traffic::run(ends, load, meanwhile);
    let stalls = meter.finish()?;

    let (mut up, mut down, mut capture_missed) = (PerPath::new(), PerPath::new(), 0);
    for (name, capture) in captures {
        let seen = capture.finish()?;
        up.insert(name, seen.received.values().sum());
        down.insert(name, seen.sent.values().sum());
        capture_missed += seen.missed;
    }
    let emulator_dropped = dropped(network).into_iter().map(|(way, count)| (way, count - before[&way])).collect();
    let captured = [(Way::Up, up), (Way::Down, down)].into();
    Ok(Measurement { traffic: traffic?, stalls, captured, emulator_dropped, capture_missed })
}

fn is_tunnel(tuple: &FiveTuple) -> bool {
    let ports = [tuple.source.1, tuple.destination.1];
    tuple.transport == Transport::Udp && ports.iter().any(|port| TUNNEL_PORTS.contains(port))
}

fn dropped(network: &Network) -> BTreeMap<Way, u64> {
    Way::BOTH.map(|way| (way, network.links().map(|(_, link)| link.count(way).dropped()).sum())).into()
}
