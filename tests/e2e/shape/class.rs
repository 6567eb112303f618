//! DSCP and ECN: seen on the outside where there is one, unchanged inside, and congestion that a line marks reaches the
//! flow (RFC 6040).

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{VIP_NETNS, uplink_veth};
use pathsteer_lab::capture::{FiveTuple, PacketSocket, Transport, Watch};
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::network::plan::{TUNNEL_PORTS, UPLINKS};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::shape;

use crate::kernel::packet_socket;
use crate::shape::copied_and_alone;
use crate::shape::course::Course;
use crate::stage::Stage;

/// Expedited forwarding, without ECN and with each of its three other values; and lower effort.
const CLASSES: [u8; 6] = [0x00, 0xb8, 0xb9, 0xba, 0xbb, 0x04];
/// What is sent, and what arrives over lines that are congested all the time.
const CONGESTED: [(u8, u8); 4] = [(0xb8, 0xb8), (0xb9, 0xbb), (0xba, 0xbb), (0xbb, 0xbb)];
const ETHERNET: usize = 14;
/// The outer IPv4 header and GRE with key and sequence.
const SHIM: usize = 32;
const GRE: u8 = 47;
const ECN: u8 = 3;
/// GRE protocols of what sessions send.
const INNER: [[u8; 2]; 2] = [[0x08, 0x00], [0x86, 0xdd]];

/// The traffic classes of a shim and of the packet inside.
type Pairs = BTreeSet<(u8, u8)>;

pub fn unchanged(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        let slot = UPLINKS[0].slot;
        let veth = packet_socket(stage.edge(), VIP_NETNS, &uplink_veth(slot).0)?;
        let shims = Watch::start(veth, |pairs: &mut Pairs, frame, _| pairs.extend(classes(frame)))?;
        let wire = stage.network.host(UPLINKS[0].router).net.run(|| PacketSocket::open(EDGE_SIDE))?;
        let line = Watch::start(wire, |seen: &mut BTreeSet<u8>, frame, _| seen.extend(datagram_class(frame)))?;
        let sent = send(stage, &CLASSES.map(|class| (class, class)));
        let (shims, line) = (shims.finish()?, line.finish()?);
        sent?;
        let wanted: Pairs = CLASSES.map(|class| (class, class)).into();
        ensure!(shims == wanted, "traffic classes outside and inside: {shims:x?}");
        // A WireGuard datagram has the packet's ECN and no DSCP: a WAN need not know which packets matter.
        let wanted: BTreeSet<u8> = CLASSES.map(|class| class & ECN).into();
        ensure!(line == wanted, "traffic classes of datagrams: {line:x?}");
        Ok(())
    })
}

pub fn congestion(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        let marked = |stage: &Stage| -> u64 {
            stage.network.links().flat_map(|(_, link)| Way::BOTH.map(|way| link.count(way).marked)).sum()
        };
        let before = marked(stage);
        stage.every_line(|profile| Profile { mark_ppm: 1_000_000, ..profile })?;
        let sent = send(stage, &CONGESTED);
        stage.every_line(|profile| profile)?;
        sent?;
        // Two classes of four, in each of four courses; the copies beside.
        let marked = marked(stage) - before;
        ensure!(marked >= 8, "the lines marked {marked} datagrams only");
        Ok(())
    })
}

/// Sends each first class over each course; it arrives as the second.
fn send(stage: &Stage, classes: &[(u8, u8)]) -> Result<()> {
    for course in Course::all(&stage.network) {
        let (near, far, to) = course.sockets()?;
        for (class, wanted) in classes {
            shape::set_traffic_class(&near, *class)?;
            near.send_to(&[*class], to)?;
            let mut bytes = [0; 16];
            let (length, arrived) =
                shape::receive_with_class(&far, &mut bytes).with_context(|| format!("{class:#04x} to {to}"))?;
            ensure!(bytes[..length] == [*class], "something else arrived: {:?}", &bytes[..length]);
            ensure!(arrived == *wanted, "{class:#04x} arrived as {arrived:#04x} at {to}");
        }
    }
    Ok(())
}

/// Of a frame with a shim around a session's packet.
fn classes(frame: &[u8]) -> Option<(u8, u8)> {
    let (outer, inner) = frame.get(ETHERNET..)?.split_at_checked(SHIM)?;
    (outer[0] == 0x45 && outer[9] == GRE && INNER.iter().any(|inner| outer[22..24] == *inner)).then_some(())?;
    let class = match inner.first()? >> 4 {
        4 => *inner.get(1)?,
        _ => inner[0] << 4 | *inner.get(1)? >> 4,
    };
    Some((outer[1], class))
}

/// Of a frame with a WireGuard datagram over IPv4.
fn datagram_class(frame: &[u8]) -> Option<u8> {
    let tuple = FiveTuple::of(frame).filter(|tuple| tuple.transport == Transport::Udp && tuple.source.0.is_ipv4())?;
    let ports = [tuple.source.1, tuple.destination.1];
    ports.iter().any(|port| TUNNEL_PORTS.contains(port)).then_some(frame[ETHERNET + 1])
}
