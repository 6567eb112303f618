//! What it costs to decide about a flow, with 1, 100 and 1,000 policies: its first packet, which looks the policies up,
//! and those that follow, which read what was decided from conntrack. A packet's whole way is done by its sender's
//! system call, so the difference between two sends is the difference between two decisions.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS};
use pathsteer_lab::clock;

use crate::node::Folders;
use crate::report::{Row, Target};
use crate::rig::{Medium, ShimRig};
use crate::series::{Discipline, Series, interleave};
use crate::statistics::quantile;

/// Policies of the rigs.
const POLICIES: [usize; 3] = [1, 100, 1_000];
/// Runs of every kind, and system calls in each; 30 x 30 x 64 are as many flows as UDP has ports above the reserved ones.
const ROUNDS: usize = 30;
const CALLS: usize = 30;
/// Packets in each call.
const BATCH: usize = 64;
/// The first port of new flows.
const FIRST_PORT: u16 = 2_000;
/// What 1,000 policies may cost a packet more, in nanoseconds.
const MORE: f64 = 110.0;

/// One kind of packet through one rig.
struct Case<'a> {
    rig: &'a ShimRig,
    policies: usize,
    /// Every packet is a new flow's.
    first: bool,
    socket: UdpSocket,
    port: RefCell<u16>,
}

/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let mut rigs = Vec::new();
    for policies in POLICIES {
        let mut rig = ShimRig::build(&format!("p{policies}"), Medium::Wires, policies, folders)?;
        rig.choose(1, 0)?;
        // Nobody listens, and nobody shall answer that.
        let quiet =
            "table ip quiet {\nchain in {\ntype filter hook prerouting priority -300\nmeta l4proto udp drop\n}\n}";
        rig.ends.server.nft(quiet)?;
        for (node, netns) in [(&rig.edge, VIP_NETNS), (&rig.anchor, ANCHOR_NETNS)] {
            node.within(netns, || Ok(std::fs::write("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", "1")?))
                .context("shortening the life of flows")?;
        }
        rigs.push(rig);
    }
    let mut cases = Vec::new();
    for first in [true, false] {
        for (rig, policies) in rigs.iter().zip(POLICIES) {
            let socket = rig.ends.client.net.run(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?))?;
            cases.push(Case { rig, policies, first, socket, port: RefCell::new(FIRST_PORT) });
        }
    }
    let all = interleave(&cases, ROUNDS, Discipline::Timed, Case::run)?;
    let mut rows = Vec::new();
    for (kinds, series) in cases.chunks(POLICIES.len()).zip(all.chunks(POLICIES.len())) {
        for (case, own) in kinds.iter().zip(series) {
            let row = Row::of(case.name(), "ns", own);
            rows.push(if case.policies == POLICIES[0] { row } else { row.compared(own, &kinds[0].name(), &series[0]) });
        }
        rows.push(more(&kinds[2], &series[2], &series[0]));
    }
    Ok(rows)
}

/// What the most policies cost more than one, round by round.
fn more(case: &Case<'_>, most: &Series<f64>, one: &Series<f64>) -> Row {
    let metric = format!("decision, {} policies more than 1, {}", case.policies, case.kind());
    let row = Row { value: most.above(one), spread: None, ..Row::of(metric, "ns", most) };
    row.promised(Target::AtMost(MORE))
}

impl Case<'_> {
    fn kind(&self) -> &'static str {
        if self.first { "first packet of a flow" } else { "following packet" }
    }

    fn name(&self) -> String {
        format!("client to server, {} policies, {}", self.policies, self.kind())
    }

    /// Nanoseconds a packet: the quartile of the calls least disturbed.
    fn run(&self) -> Result<f64> {
        let IpAddr::V4(server) = self.rig.ends.server_address().ip() else { anyhow::bail!("the server has no IPv4") };
        let payload = [0; 64];
        let parts: Vec<_> = (0..BATCH).map(|_| [std::io::IoSlice::new(&payload)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut port = self.port.borrow_mut();
        let mut costs = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let to: Vec<Option<SockaddrIn>> = (0..BATCH as u16)
                .map(|index| {
                    let port = if self.first { *port + index } else { FIRST_PORT };
                    let SocketAddr::V4(to) = SocketAddr::from((server, port)) else { return None };
                    Some(SockaddrIn::from(to))
                })
                .collect();
            let begin = clock::now();
            let sent = sendmmsg(self.socket.as_raw_fd(), &mut headers, &parts, to, [], MsgFlags::empty())?.count();
            costs.push((clock::now() - begin).as_nanos() as f64 / sent as f64);
            *port += BATCH as u16;
        }
        quantile(&costs, 0.25).context("no packet was sent")
    }
}
