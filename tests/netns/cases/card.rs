//! Network cards that are found by something else than their name.

use anyhow::{Context, Result, ensure};
use pathsteer_compiler::Inventory;

use super::Case;
use crate::dump;
use crate::node::{Node, Prepared};
use crate::plans::{EDGE, Plan, declare, example, plan};

pub const CASES: &[(&str, Case)] = &[
    ("a_card_is_found_by_its_mac_whatever_it_is_called_and_goes_home_as_it_was", by_mac),
    ("a_card_that_came_home_by_itself_is_taken_again_or_gets_its_own_name_back", stray),
];

const MAC: &str = "02:00:5e:10:00:01";

/// The example with its first uplink found by its MAC.
fn found_by_mac() -> Result<Inventory> {
    let mut inventory = example()?;
    declare(
        &mut inventory,
        &format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: rv-07, name: fiber}}\n\
             spec: {{slot: 1, kind: fiber, interface: \"mac:{MAC}\", address: dhcp, cost: 10}}\n"
        ),
    )?;
    Ok(inventory)
}

/// A card with the MAC in question, called `name`, its far end outside.
fn plug(node: &str, outside: &pathsteer_lab::host::Host, name: &str) -> Result<()> {
    outside.ip(&format!(
        "link add far-{name} type veth peer name {name} address {MAC} netns {node}\nlink set far-{name} up"
    ))
}

fn others(node: &Prepared, plan: &Plan) -> Result<()> {
    plan.cards().iter().filter(|card| *card != "psn1").try_for_each(|card| node.plug(card))
}

/// What the node's own namespace says about the card `name`.
fn at_home(node: &Node, name: &str) -> Result<String> {
    let sysctls = "net.ipv4.conf.NAME.rp_filter net.ipv4.conf.NAME.arp_ignore net.ipv6.conf.NAME.accept_ra";
    let words = sysctls.replace("NAME", name);
    let values = node.host.output("sysctl", &words.split(' ').collect::<Vec<_>>())?;
    let link = dump::ip(&node.host, "", &format!("-d link show {name}"))?;
    let up = link[0]["flags"].to_string().contains("\"UP\"");
    Ok(format!("{values}{} up {up}", link[0]["ifalias"]))
}

fn by_mac() -> Result<()> {
    let first = plan(&mut found_by_mac()?, EDGE)?;
    let mut node = Node::prepare("edge19", EDGE)?.begin(|node| {
        others(node, &first)?;
        plug(node.host.name, &node.outside, "enx7")?;
        // What stands on a card has its MAC, and is none.
        node.host
            .ip(&format!("link add br7 address {MAC} type bridge\nlink set enx7 alias the-modem\nlink set enx7 up"))?;
        node.host.output("sysctl", &["-qw", "net.ipv4.conf.enx7.rp_filter=2", "net.ipv4.conf.enx7.arp_ignore=1"])?;
        node.keep(&first, 1)
    })?;
    node.settle()?;
    let inside = dump::ip(&node.host, "psup1", "-d link show psn1")?;
    ensure!(inside[0]["ifalias"] == "pathsteer enx7 the-modem", "it does not say what it was called: {inside}");
    ensure!(node.ip("link show br7").is_ok(), "the bridge was taken");

    // Unplugged, and plugged in under another name.
    node.ip("-n psup1 link del psn1")?;
    node.wait("told as missing", |node| node.said(&format!("no card with the MAC {MAC}")) > 0)?;
    node.unseen(|node| {
        plug(node.host.name, &node.outside, "eth5")?;
        node.host.output("sysctl", &["-qw", "net.ipv4.conf.eth5.rp_filter=1", "net.ipv6.conf.eth5.accept_ra=0"])?;
        node.ip("link set eth5 alias the-modem").map(drop)
    })?;
    let took = node.settle()?;
    println!("edge19: plugged in under another name, in sync after {took:?}");

    node.kill()?;
    node.teardown()?;
    let home = at_home(&node, "eth5")?;
    let expected = ["eth5.rp_filter = 1", "eth5.accept_ra = 0", "\"the-modem\" up false"];
    ensure!(expected.iter().all(|one| home.contains(one)), "it came home as {home}");
    ensure!(node.ip("link show psn1").is_err(), "it is still called as we called it");
    Ok(())
}

fn stray() -> Result<()> {
    let mut inventory = found_by_mac()?;
    let first = plan(&mut inventory, EDGE)?;
    let mut node = Node::prepare("edge20", EDGE)?.begin(|node| {
        others(node, &first)?;
        plug(node.host.name, &node.outside, "enx7")?;
        node.host.ip("link set enx7 alias the-modem\nlink set enx7 up")?;
        node.host.output("sysctl", &["-qw", "net.ipv4.conf.enx7.arp_ignore=1"])?;
        node.keep(&first, 1)
    })?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    // A real card goes home when its namespace is deleted, with the name it had there.
    let home = format!("/proc/{}/ns/net", node.host.processes(&["pathsteer-agent", "run"])[0]);
    let send_home = |node: &Node| node.host.output("ip", &["-n", "psup1", "link", "set", "psn1", "netns", &home]);
    send_home(&node)?;
    node.settle()?;
    let now = dump::ours(&node.host)?;
    ensure!(now == reference, "{}", dump::difference(&reference, &now));

    inventory.uplinks.remove("rv-07/fiber").context("the example has it")?;
    send_home(&node).and_then(|_| node.kill())?;
    node.keep(&plan(&mut inventory, EDGE)?, 2)?;
    node.restart()?;
    node.settle()?;
    let home = at_home(&node, "enx7")?;
    ensure!(home.contains("enx7.arp_ignore = 1") && home.ends_with("\"the-modem\" up true"), "it came home as {home}");
    Ok(())
}
