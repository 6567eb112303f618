//! Taking everything of ours away.

use anyhow::{Result, ensure};

use super::Case;
use crate::dump;
use crate::node::Node;
use crate::plans::{ANCHOR, EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("teardown_leaves_nothing_of_an_edge_and_gives_the_cards_back", || teardown("edge5", EDGE)),
    ("teardown_leaves_nothing_of_an_anchor_and_gives_the_cards_back", || teardown("anchor5", ANCHOR)),
];

fn teardown(name: &'static str, identity: &'static str) -> Result<()> {
    let plan = example_plan(identity)?;
    let mut node = Node::start(name, &plan)?;
    node.settle()?;
    let refused = node.run(&["teardown"])?;
    ensure!(!refused.well && refused.text.contains("stop it first"), "with the agent running: {}", refused.text);
    ensure!(node.pending() == Some(vec![]), "the refused teardown changed something");

    let expected = node.log().len();
    node.kill()?;
    let before = node.workers();
    let links = node.ip("-all netns exec ip -d -o link show")?;
    let kernels = links.lines().filter(|line| line.contains(": psw") && line.contains(" wireguard ")).count();
    ensure!(before.len() + kernels == 3, "a slot's tunnels are the kernel's or a worker's: {kernels}, {before:?}");
    node.teardown()?;
    nothing_is_left(&node, &plan.cards())?;
    let again = node.run(&["teardown"])?;
    ensure!(again.well && again.text == "0 objects removed\n", "the second time: {}", again.text);

    node.restart()?;
    node.settle()?;
    ensure!(node.log().len() > expected, "the agent did not begin again");
    Ok(())
}

/// Nothing of ours is on the node, and its own namespace has `cards` (and no other interface but the loopback).
pub fn nothing_is_left(node: &Node, cards: &[String]) -> Result<()> {
    let links = dump::ip(&node.host, "", "link")?;
    let mut names: Vec<&str> =
        links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    names.retain(|name| *name != "lo");
    names.sort_unstable();
    ensure!(names == cards, "interfaces are {names:?}");
    let netns = dump::namespaces(&node.host)?;
    ensure!(!netns.iter().any(|name| name.starts_with("ps")), "namespaces are {netns:?}");
    let rules = node.ip("rule")?;
    ensure!(!rules.contains("77") && !rules.contains("7999"), "rules are {rules}");
    let routes = node.ip("route show table all")?;
    ensure!(!routes.contains("proto 77"), "routes are {routes}");
    let tables = node.host.output("nft", &["list", "tables"])?;
    ensure!(!tables.contains("pathsteer"), "nft tables are {tables}");
    let pins = node.host.output("ls", &["/sys/fs/bpf"])?;
    // What the kernel itself puts there.
    ensure!(pins.lines().all(|name| name.ends_with(".debug")), "pins are {pins}");
    ensure!(node.workers().is_empty(), "workers are {:?}", node.workers());
    Ok(())
}
