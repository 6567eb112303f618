//! An uplink whose card stays in the node's own namespace.

use anyhow::{Context, Result, ensure};
use pathsteer_compiler::Inventory;
use pathsteer_lab::host::Host;

use super::Case;
use super::foreign::unchanged;
use crate::foreign::{self, Ours};
use crate::node::{Node, plug};
use crate::plans::{EDGE, Plan, declare, example, plan};

pub const CASES: &[(&str, Case)] =
    &[("a_card_that_stays_in_the_nodes_own_namespace_carries_its_uplink_and_the_node_keeps_everything_else", stays)];

/// Behind the modem and behind the node's own preferred way.
const SERVER: &str = "198.18.99.1";
const CARDS: [&str; 5] = ["wan1", "wan2", "lan0", "lan1", "lan2"];

pub fn with_modem() -> Result<Inventory> {
    let mut inventory = example()?;
    declare(
        &mut inventory,
        "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {site: rv-07, name: cellular}\n\
         spec: {slot: 3, kind: cellular, interface: wwan0, attach: inPlace, address: host, cost: 30}\n",
    )?;
    Ok(inventory)
}

/// The node as it was before: a modem that its own tools have configured, and another way to the internet which it
/// prefers. It routes nothing, and its reverse-path filter is strict.
const BEFORE: &str = "
    set -e
    ip netns add mine
    ip link set wwan0 up
    ip link set eth0 up
    ip address add 10.64.0.7/24 dev wwan0
    ip address add 192.0.2.7/24 dev eth0
    ip route add default via 192.0.2.1 dev eth0 metric 100
    ip route add default via 10.64.0.1 dev wwan0 metric 700
    ip rule add pref 7703 from 192.0.2.9 lookup main
    ip rule add pref 7703 iif wwan0 from 192.0.2.9 lookup 7703
    ip route add 198.51.100.0/24 dev eth0 table 7703 proto static
    ip route add blackhole 198.51.101.0/24 table 7703
    nft add table ip pathsteer
    nft add table inet mine
    sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.wwan0.rp_filter=1
";

struct Stage {
    node: Node,
    modem: Host,
    /// Holds the far end of the node's preferred way.
    preferred: Host,
    before: String,
    /// The same without what an uplink in place would have there.
    beside: String,
    plan: Plan,
    inventory: Inventory,
}

fn stage(name: &'static str) -> Result<Stage> {
    let mut inventory = with_modem()?;
    let plan = plan(&mut inventory, EDGE)?;
    let host = |role: &str| Host::new(Box::leak(format!("{name}-{role}").into_boxed_str()));
    let (modem, preferred) = (host("modem")?, host("wire")?);
    let (mut before, mut beside) = (String::new(), String::new());
    let node = Node::prepare(name, EDGE)?.begin(|node| {
        plan.cards().iter().try_for_each(|card| node.plug(card))?;
        plug(&node.host, &modem, "wwan0")?;
        plug(&node.host, &preferred, "eth0")?;
        for (host, far) in [(&modem, "10.64.0.1/24 dev far-wwan0"), (&preferred, "192.0.2.1/24 dev far-eth0")] {
            host.ip(&format!("address add {far}\naddress add {SERVER}/32 dev lo"))?;
        }
        node.host.output("sh", &["-c", BEFORE])?;
        node.keep(&plan, 1)?;
        (before, beside) = (around(&node.host, false)?, around(&node.host, true)?);
        Ok(())
    })?;
    Ok(Stage { node, modem, preferred, before, beside, plan, inventory })
}

/// Everything that is not ours: as it is without an uplink in place, and with what that one has there left out.
fn around(host: &Host, in_place: bool) -> Result<String> {
    foreign::dump(host, &Ours { cards: &CARDS, in_place: in_place.then_some(("wwan0", 3)) })
}

fn answered(node: &Node, words: &str) -> bool {
    node.ip(&format!("netns exec psup3 ping -c 1 -W 1 {words}")).is_ok()
}

fn stays() -> Result<()> {
    let Stage { mut node, modem, preferred: _preferred, before, beside, plan: first, mut inventory } = stage("edge21")?;
    let took = node.settle()?;
    println!("edge21: in sync after {took:?}");
    modem.nft("table ip count { chain in { type filter hook input priority 0; icmp type echo-request ip saddr 10.64.0.7 counter; }; }")?;
    ensure!(node.ip("link show wwan0").is_ok(), "the card has been taken");
    node.wait("answered by the modem", |node| answered(node, SERVER))?;
    let counted = modem.output("nft", &["list", "table", "ip", "count"])?;
    ensure!(!counted.contains("packets 0 "), "not by the modem, or with another address: {counted}");
    let preferred = node.ip(&format!("route get {SERVER}"))?;
    ensure!(preferred.contains("dev eth0"), "the node prefers another way now: {preferred}");

    // The node itself is no service for whoever uses the uplink.
    let closed = ["10.64.0.7", "192.0.2.7", "169.254.79.13"].iter().all(|own| !answered(&node, own));
    ensure!(closed, "the node answers what comes from the uplink's namespace");

    // Without a way by the modem the uplink has none: not by the other card.
    node.ip("route del default via 10.64.0.1 dev wwan0")?;
    let gone = |node: &Node| node.ip("-n psup3 route show default").is_ok_and(|routes| routes.is_empty());
    node.wait("without a way", gone)?;
    ensure!(!answered(&node, SERVER), "by another card");
    node.ip("route add default via 10.64.0.1 dev wwan0 metric 800")?;
    node.wait("answered again", |node| answered(node, SERVER))?;
    node.ip("route del default via 10.64.0.1 dev wwan0 metric 800")?;
    node.ip("route add default via 10.64.0.1 dev wwan0 metric 700")?;
    node.settle()?;

    unchanged("with the agent", &beside, &around(&node.host, true)?)?;
    let lent =
        node.host.output("sysctl", &["-n", "net.ipv4.conf.wwan0.forwarding", "net.ipv4.conf.wwan0.rp_filter"])?;
    ensure!(lent == "1\n2\n", "the card's own settings are {lent:?}");

    for (what, script) in [
        ("the veth is deleted", "ip link del psh3"),
        ("the rule is deleted", "ip rule del pref 7703 iif psh3"),
        ("the table is flushed", "ip route flush table 7703 proto 77"),
        ("the nft table is deleted", "nft delete table inet pathsteer"),
        ("a sysctl is changed", "sysctl -q -w net.ipv4.conf.wwan0.forwarding=0; ip rule del pref 7703 iif psh3"),
    ] {
        node.host.output("sh", &["-c", script])?;
        let healed = node.wait("answered again", |node| node.pending() == Some(vec![]) && answered(node, SERVER));
        println!("edge21: {what}: right again after {:?}", healed.context(what)?);
    }
    unchanged("after drift", &beside, &around(&node.host, true)?)?;

    // Killed and begun again, it lends nothing twice.
    node.kill()?;
    node.restart()?;
    node.settle()?;
    unchanged("with a new agent", &beside, &around(&node.host, true)?)?;

    inventory.uplinks.remove("rv-07/cellular").context("it was declared")?;
    node.kill()?;
    node.keep(&plan(&mut inventory, EDGE)?, 2)?;
    node.restart()?;
    node.settle()?;
    unchanged("without the uplink", &before, &around(&node.host, false)?)?;
    ensure!(!node.host.output("nft", &["list", "ruleset"])?.contains("inet pathsteer"), "a table of ours is left");
    ensure!(!node.ip("rule show")?.contains("psh3"), "a rule of ours is left");

    node.kill()?;
    node.keep(&first, 3)?;
    node.restart()?;
    node.settle()?;
    node.kill()?;
    node.teardown()?;
    unchanged("after teardown", &before, &around(&node.host, false)?)
}
