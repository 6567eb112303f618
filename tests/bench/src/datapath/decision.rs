//! What it costs to decide about a flow, with 1, 100 and 1,000 policies: its first packet, which looks the policies up,
//! and those that follow, which read what was decided from conntrack.
//!
//! The packets go to a network that is never shimmed: the edge decides about them as about any other, and its program then
//! drops them, so that little but the decision is measured. All of it is done by the sender's system call.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use pathsteer_crds::ownership::VIP_NETNS;
use pathsteer_lab::clock;

use crate::node::Folders;
use crate::report::{Row, Target};
use crate::rig::{Medium, ShimRig};
use crate::series::{Discipline, Series, interleave};
use crate::statistics::quantile;

/// Policies of the rigs.
const POLICIES: [usize; 3] = [1, 100, 1_000];
/// Runs of every kind, and system calls in each.
const ROUNDS: usize = 60;
const CALLS: u16 = 40;
/// Packets in each call.
const BATCH: u16 = 64;
/// The first port of new flows.
const FIRST_PORT: u16 = 2_000;
/// In a network that lies behind nobody (RFC 3927), and not the part that the node itself uses.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(169, 254, 200, 1);
/// Of the calls of a run the one that counts: nearly the least disturbed.
const QUIET: f64 = 0.1;
/// What 1,000 policies may cost a packet more, in nanoseconds.
const MORE: f64 = 110.0;

/// Which packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packet {
    First,
    Following,
}

impl Packet {
    fn name(self) -> &'static str {
        match self {
            Packet::First => "first packet of a flow",
            Packet::Following => "following packet",
        }
    }
}

/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let mut rigs = Vec::new();
    for policies in POLICIES {
        let mut rig = ShimRig::build(&format!("p{policies}"), Medium::Wires, policies, folders)?;
        rig.choose(1, 0)?;
        // flows of one run are forgotten before their table is full
        rig.edge
            .within(VIP_NETNS, || Ok(std::fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "1")?))
            .context("shortening the life of flows")?;
        rigs.push(rig);
    }
    let packets = [Packet::First, Packet::Following];
    let dropped = || rigs.iter().map(dropped).sum::<Result<u64>>();
    let before = dropped()?;
    let all = interleave(&packets, ROUNDS, Discipline::Timed, |packet| run(&rigs, *packet).map(Some))?;
    let sent = ROUNDS * packets.len() * rigs.len() * usize::from(CALLS * BATCH);
    ensure!(dropped()? - before >= sent as u64, "not all of {sent} packets came as far as the program");

    let mut rows = Vec::new();
    for (packet, costs) in packets.iter().zip(&all) {
        let [one, .., most] = [0, 1, 2].map(|at| costs.map(|costs| costs[at]));
        for (at, policies) in POLICIES.iter().enumerate() {
            let series = costs.map(|costs| costs[at]);
            let row = Row::of(name(*policies, *packet), "ns", &series);
            rows.push(if at == 0 { row } else { row.compared(&series, &name(POLICIES[0], *packet), &one) });
        }
        rows.push(more(*packet, &most, &one));
    }
    Ok(rows)
}

fn name(policies: usize, packet: Packet) -> String {
    format!("client to shim, {policies} policies, {}", packet.name())
}

/// What the most policies cost more than one, round by round.
fn more(packet: Packet, most: &Series<f64>, one: &Series<f64>) -> Row {
    let metric = format!("decision, {} policies more than 1, {}", POLICIES[2], packet.name());
    let row = Row { value: most.above(one), spread: None, ..Row::of(metric, "ns", most) };
    row.promised(Target::AtMost(MORE))
}

/// Packets the edge's program has dropped so far because their destination lies behind nobody.
fn dropped(rig: &ShimRig) -> Result<u64> {
    let counters = rig.edge.datapath()?.maps.counters()?;
    Ok(counters.values().filter_map(|counts| counts.get("noRemote")).sum())
}

/// Nanoseconds a packet in each of the rigs, which take turns call by call.
fn run(rigs: &[ShimRig], packet: Packet) -> Result<[f64; 3]> {
    let mut costs = [const { Vec::new() }; 3];
    // fresh sockets have fresh ports: no flow was seen before
    let socket = |rig: &ShimRig| rig.ends.client.net.run(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?));
    let sockets: Vec<UdpSocket> = rigs.iter().map(socket).collect::<Result<_>>()?;
    for call in 0..CALLS {
        for (socket, costs) in sockets.iter().zip(&mut costs) {
            costs.push(send(socket, packet, FIRST_PORT + call * BATCH)?);
        }
    }
    let quiet = costs.map(|costs| quantile(&costs, QUIET));
    match quiet {
        [Some(one), Some(middle), Some(most)] => Ok([one, middle, most]),
        _ => anyhow::bail!("no packet was sent"),
    }
}

/// Nanoseconds a packet of one call, to ports from `port` on where each is the first of its flow.
fn send(socket: &UdpSocket, packet: Packet, port: u16) -> Result<f64> {
    let payload = [0; 64];
    let parts: Vec<_> = (0..BATCH).map(|_| [std::io::IoSlice::new(&payload)]).collect();
    let to = |index: u16| match packet {
        Packet::First => SocketAddrV4::new(NOWHERE, port + index),
        Packet::Following => SocketAddrV4::new(NOWHERE, FIRST_PORT),
    };
    let to: Vec<_> = (0..BATCH).map(|index| Some(SockaddrIn::from(to(index)))).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(parts.len(), None);
    let begin = clock::now();
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &parts, to, [], MsgFlags::empty())?.count();
    Ok((clock::now() - begin).as_nanos() as f64 / sent as f64)
}
