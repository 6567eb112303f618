//! Budgets of copies.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::treatments::van;
use crate::node::{Node, STATE};
use crate::plans::{EDGE, plan};

pub const CASES: &[(&str, Case)] =
    &[("what_copies_used_of_a_month_outlives_table_agent_and_reboot_but_not_the_month", outlives)];

/// Bytes that the kernel has counted of the copies to slot 2.
fn used(node: &Node) -> Option<u64> {
    let listed: Value = serde_json::from_str(&node.ip("netns exec psvip nft -j list quotas").ok()?).ok()?;
    listed["nftables"].as_array()?.iter().find_map(|one| one["quota"]["used"].as_u64())
}

fn outlives() -> Result<()> {
    let mut inventory = van()?;
    let first = plan(&mut inventory, EDGE)?;
    inventory.traffic_policies.remove("calls").context("it was declared")?;
    let second = plan(&mut inventory, EDGE)?;
    let mut node = Node::start("edge17", &first)?;
    node.settle()?;
    ensure!(used(&node).is_some(), "slot 2 has a quota");
    // The first uplink is active, the second carries the copies. Nobody answers: there is no anchor.
    let ping = "netns exec psvip ping -c 20 -i 0.01 -W 1 -s 1000 198.51.100.77";
    node.wait("copying", |node| {
        let _unanswered = node.ip(ping).is_err();
        used(node).is_some_and(|used| used > 20_000)
    })?;
    let copied = used(&node).context("it was there")?;

    node.kill()?;
    node.keep(&second, 2)?;
    node.restart()?;
    node.first_turn()?;
    node.settle()?;
    ensure!(node.ip("netns exec psvip nft list table inet pathsteer")?.len() > 1_000, "no table");
    let with_another = used(&node).context("the quota is gone")?;
    ensure!(with_another >= copied, "another table: {with_another} of {copied}");
    let file = format!("{STATE}/copies.json");
    let saved = |node: &Node| node.host.read(&file).is_ok_and(|text| text.contains("\"2\":"));
    node.wait("remembered", saved)?;

    // A kernel that has just booted knows nothing.
    node.kill()?;
    node.ip("netns exec psvip nft delete table ip pathsteer")?;
    node.restart()?;
    node.first_turn()?;
    let rebooted = used(&node).context("the quota is gone")?;
    ensure!(rebooted >= copied, "after a reboot: {rebooted} of {copied}");

    // A month later.
    node.kill()?;
    let mut state: Value = serde_json::from_str(&node.host.read(&file)?)?;
    state["month"] = json!(state["month"].as_u64().context("no month")? - 1);
    node.host.write(&file, &state.to_string())?;
    node.restart()?;
    node.wait("given back", |node| used(node) == Some(0))?;
    println!(
        "edge17: {copied} bytes copied, {with_another} with another table, {rebooted} after a reboot, 0 in a new month"
    );
    Ok(())
}
