//! What the programs themselves cost a packet: the kernel's own statistics of them under live traffic. (A packet under
//! BPF_PROG_TEST_RUN keeps what the program did to it, so repeating that measures another packet each time.)

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::sys::{Stats, enable_stats};
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_PEER, VIP_NETNS};

use super::rigs::Rigs;
use crate::node::Node;
use crate::plan::wire;
use crate::report::{Row, Target};
use crate::rig::{Medium, ShimRig};
use crate::series::{Discipline, interleave};
use crate::traffic::udp::Pace;
use crate::traffic::{Window, udp};

const ROUNDS: usize = 10;
/// Some ten thousand packets.
const LENGTH: Duration = Duration::from_millis(150);
/// Bytes of payload, as in a call.
const PAYLOAD: usize = 200;
/// Promised, in nanoseconds a packet.
const ENCAP: f64 = 450.0;
const DECAP: f64 = 230.0;

/// What a program has cost so far.
struct Spent {
    time: Duration,
    packets: u64,
}

/// # Errors
/// When the rig cannot be built or a run fails.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    let rig = rigs.shim(Medium::Wires)?;
    rig.borrow_mut().choose(1, 0)?;
    let rig = rig.borrow();
    let _statistics = enable_stats(Stats::RunTime).context("enabling BPF statistics")?;
    let cases = [false, true];
    let all = interleave(&cases, ROUNDS, Discipline::Saturating, |v6| one(&rig, *v6).map(Some))?;
    let mut rows = Vec::new();
    for (name, promised, at) in [("encap", ENCAP, 0), ("decap", DECAP, 1)] {
        for (v6, series) in cases.iter().zip(&all) {
            let series = series.map(|both: &[f64; 2]| both[at]);
            let metric = format!("{name}, IPv{} inside", if *v6 { 6 } else { 4 });
            rows.push(Row::of(metric, "ns", &series).promised(Target::AtMost(promised)));
        }
    }
    Ok(rows)
}

/// Nanoseconds a packet: adding the shim at the edge, taking it off at the anchor.
fn one(rig: &ShimRig, v6: bool) -> Result<[f64; 2]> {
    let look = || {
        Ok::<_, anyhow::Error>([
            spent(&rig.edge, VIP_NETNS, SHIM_PEER.to_owned())?,
            spent(&rig.anchor, ANCHOR_NETNS, wire(1))?,
        ])
    };
    let at = if v6 { rig.ends.server_address_v6() } else { rig.ends.server_address() };
    let before = look()?;
    let window = Window::after(Duration::ZERO, LENGTH);
    let outcome = udp::stream(&rig.ends.client, &rig.ends.server, at, PAYLOAD, Pace::Flood, window)?;
    let after = look()?;
    let mut costs = [0.0; 2];
    for ((cost, before), after) in costs.iter_mut().zip(before).zip(after) {
        let packets = after.packets - before.packets;
        ensure!(
            packets >= outcome.delivered && packets > 0,
            "the program saw {packets} of {} packets",
            outcome.delivered
        );
        *cost = (after.time - before.time).as_nanos() as f64 / packets as f64;
    }
    Ok(costs)
}

fn spent(node: &Node, netns: &str, link: String) -> Result<Spent> {
    node.within(netns, || {
        let (_, programs) = SchedClassifier::query_tcx(&link, TcAttachType::Ingress)?;
        let program = programs.first().with_context(|| format!("no program on {link}"))?;
        Ok(Spent { time: program.run_time(), packets: program.run_count() })
    })
}
