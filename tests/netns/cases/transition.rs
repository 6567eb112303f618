//! From one plan to another.

use anyhow::{Context, Result, ensure};
use pathsteer_bpf::layout::LAYOUT;
use pathsteer_compiler::Inventory;
use pathsteer_crds::{AddressMethod, UplinkKind};

use super::Case;
use super::settle::assert_as_declared;
use crate::dump;
use crate::node::{Node, STATE};
use crate::plans::{ANCHOR, EDGE, Plan, example, example_plan, plan};

pub const CASES: &[(&str, Case)] = &[
    ("an_edge_goes_from_plan_to_plan_and_keeps_nothing_of_the_one_before", edge),
    ("an_anchor_whose_site_is_gone_keeps_nothing_of_it", anchor),
    ("an_agent_that_finds_maps_of_another_layout_takes_over_those_that_fit_and_else_begins_an_epoch", layout),
];

/// What is changed in the declarations.
type Change = (&'static str, fn(&mut Inventory) -> Result<()>);

const CHANGES: &[Change] = &[
    ("an uplink less", |inventory| {
        inventory.uplinks.remove("rv-07/cellular").context("the example has it")?;
        Ok(())
    }),
    ("another uplink", |inventory| {
        let mut modem = inventory.uplinks["rv-07/starlink"].clone();
        (modem.slot, modem.kind, modem.interface) = (4, UplinkKind::Satellite, "wan4".to_owned());
        let (addresses, gateways) = (vec!["192.0.2.2/24".parse()?], vec!["192.0.2.1".parse()?]);
        modem.address = AddressMethod::Static { addresses, gateways };
        inventory.uplinks.insert("rv-07/modem".to_owned(), modem);
        for (node, key) in [(EDGE, "BAQE".repeat(10) + "BAQ="), (ANCHOR, "BQUF".repeat(10) + "BQU=")] {
            inventory.identities.get_mut(node).context("it has said who it is")?.wireguard_keys.insert(4, key);
        }
        Ok(())
    }),
    ("a smaller MTU", |inventory| {
        inventory.uplinks.get_mut("rv-07/fiber").context("the example has it")?.mtu = 1_460;
        Ok(())
    }),
    ("other addresses", |inventory| {
        let site = inventory.sites.get_mut(EDGE).context("the example has it")?;
        site.vips = vec!["198.18.7.2".parse()?, "2001:db8:7:ff::2".parse()?];
        let media = ["172.16.8.0/24".parse()?, "2001:db8:8::/64".parse()?];
        site.prefixes = [["172.16.9.0/24".parse()?, "2001:db8:9::/64".parse()?], media].concat();
        let vlan = inventory.vlans.get_mut("rv-07/crew").context("the example has it")?;
        vlan.addresses = vec!["172.16.9.1/24".parse()?, "2001:db8:9::1/64".parse()?];
        Ok(())
    }),
    ("no policy", |inventory| {
        inventory.traffic_policies.clear();
        Ok(())
    }),
    ("another slot for the same card", |inventory| {
        inventory.uplinks.get_mut("rv-07/modem").context("it was added")?.slot = 5;
        for (node, key) in [(EDGE, "BgYG".repeat(10) + "BgY="), (ANCHOR, "BwcH".repeat(10) + "Bwc=")] {
            inventory.identities.get_mut(node).context("it has said who it is")?.wireguard_keys.insert(5, key);
        }
        Ok(())
    }),
];

/// Two plans of the example's `identity`; from the one to the other much comes, changes and goes.
pub fn two_plans(identity: &'static str) -> Result<[Plan; 2]> {
    let mut inventory = example()?;
    let first = plan(&mut inventory, identity)?;
    for (_, change) in CHANGES {
        change(&mut inventory)?;
    }
    Ok([first, plan(&mut inventory, identity)?])
}

fn edge() -> Result<()> {
    let mut inventory = example()?;
    let first = plan(&mut inventory, EDGE)?;
    let mut node = Node::start("edge8", &first)?;
    crate::node::plug(&node.host, &node.outside, "wan4")?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    let mut generation = 1;
    for (what, change) in CHANGES {
        change(&mut inventory)?;
        let next = plan(&mut inventory, EDGE)?;
        generation += 1;
        node.kill()?;
        node.keep(&next, generation)?;
        node.restart()?;
        let took = node.settle()?;
        assert_as_declared(&next.objects(), node.observe()?);
        let slots = inventory.uplinks.len();
        ensure!(node.workers().len() == slots, "{what}: workers {:?} for {slots} uplinks", node.workers());
        println!("edge8: {what}: in sync after {took:?}");
    }
    let left = dump::ours(&node.host)?;
    for gone in ["psup3", "psup4", "wan3", "7719", "198.18.7.1", "172.16.7", "1388"] {
        ensure!(!left.contains(gone), "{gone} is still there:\n{left}");
    }
    let home = dump::ip(&node.host, "", "link")?.to_string();
    ensure!(home.contains("\"wan3\"") && !home.contains("\"wan4\""), "at home: {home}");

    node.kill()?;
    node.keep(&first, generation + 1)?;
    node.restart()?;
    node.settle()?;
    let now = dump::ours(&node.host)?;
    ensure!(now == reference, "back at the first plan: {}", dump::difference(&reference, &now));
    Ok(())
}

fn anchor() -> Result<()> {
    let mut inventory = example()?;
    let with_site = plan(&mut inventory, ANCHOR)?;
    inventory.sites.clear();
    inventory.uplinks.clear();
    inventory.vlans.clear();
    let without = plan(&mut inventory, ANCHOR)?;
    let mut node = Node::start("anchor8", &with_site)?;
    node.settle()?;
    // Remotes by their shim endpoints, as the map itself has them: 0 is none.
    let remotes = |node: &Node| -> Result<usize> {
        let pin = format!("/sys/fs/bpf/pathsteer/v{LAYOUT}/ps_remote");
        let dumped = node.host.output("bpftool", &["-j", "map", "dump", "pinned", &pin])?;
        let all: Vec<serde_json::Value> = serde_json::from_str(&dumped)?;
        Ok(all.iter().filter(|entry| entry["formatted"]["value"]["address"].as_u64() > Some(0)).count())
    };
    ensure!(remotes(&node)? == 1, "the site is not in the map");
    node.kill()?;
    node.keep(&without, 2)?;
    node.restart()?;
    node.settle()?;
    assert_as_declared(&without.objects(), node.observe()?);
    ensure!(remotes(&node)? == 0, "the site is still in the map");
    let left = dump::ours(&node.host)?;
    for gone in ["10.100.0.2", "172.16.7", "198.18.7.1"] {
        ensure!(!left.contains(gone), "{gone} is still there:\n{left}");
    }
    Ok(())
}

const PINS: &str = "/sys/fs/bpf/pathsteer";
/// One of the maps looks otherwise than ours does.
const OTHER_SHAPE: &str = "rm ps_ack; bpftool map create ps_ack type ringbuf key 0 value 0 entries 4096 name ps_ack";

fn layout() -> Result<()> {
    let mut node = Node::start("edge8l", &example_plan(EDGE)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    let epoch =
        |node: &Node| -> Result<u64> { Ok(node.host.output("cat", &[&format!("{STATE}/epoch")])?.trim().parse()?) };
    let maps =
        |node: &Node| node.host.output("bpftool", &["map", "show", "pinned", &format!("{PINS}/v{LAYOUT}/ps_window")]);
    for (what, script, is_new) in [("maps that fit", "true", false), ("maps that do not", OTHER_SHAPE, true)] {
        let (before, map) = (epoch(&node)?, maps(&node)?);
        node.kill()?;
        // As if the agent had been of the layout before: its programs still run.
        let old = LAYOUT - 1;
        node.host.output("sh", &["-ec", &format!("cd {PINS}; mv v{LAYOUT} v{old}; cd v{old}; {script}")])?;
        node.restart()?;
        node.settle()?;
        let pins = node.host.output("ls", &[PINS])?;
        ensure!(pins.trim() == format!("v{LAYOUT}"), "{what}: the old pins are still there: {pins}");
        let after = epoch(&node)?;
        ensure!(after == before + u64::from(is_new), "{what}: epoch {before} before, {after} now");
        ensure!((maps(&node)? != map) == is_new, "{what}: they were {map}");
        let now = dump::ours(&node.host)?;
        ensure!(now == reference, "{what}: {}", dump::difference(&reference, &now));
    }
    Ok(())
}
