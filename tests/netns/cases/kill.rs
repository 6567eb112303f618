//! The agent dies while it applies.

use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::clock;

use super::Case;
use crate::dump;
use crate::node::Node;
use crate::plans::{ANCHOR, EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("an_edge_agent_killed_at_any_moment_begins_again_and_doubles_nothing", || dies("edge2", EDGE, 10)),
    ("an_anchor_agent_killed_at_any_moment_begins_again_and_doubles_nothing", || dies("anchor2", ANCHOR, 5)),
];

/// The longest life, in milliseconds: an undisturbed agent is done by then.
const LONGEST: u64 = 400;

fn dies(name: &'static str, identity: &'static str, times: usize) -> Result<()> {
    let mut node = Node::start(name, &example_plan(identity)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    let workers = node.workers();
    // Lives of all lengths, the same ones in every run (a step that shares no factor with the longest).
    for life in (0..times as u64).map(|round| 1 + round * 157 % LONGEST) {
        node.kill()?;
        node.teardown()?;
        node.restart()?;
        // Not a wait for something to happen: the point in time is what is tested.
        clock::sleep_until(clock::now() + Duration::from_millis(life));
        node.kill()?;
        node.restart()?;
        let took = node.settle()?;
        let now = dump::ours(&node.host)?;
        ensure!(now == reference, "after {life} ms: {}", dump::difference(&reference, &now));
        ensure!(node.workers().len() == workers.len(), "after {life} ms: workers {:?}", node.workers());
        println!("{name}: killed after {life} ms, in sync {took:?} later");
    }
    Ok(())
}
