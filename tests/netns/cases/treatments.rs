//! Segments of every treatment, on a real kernel.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use pathsteer_compiler::Inventory;
use pathsteer_crds::plan::LinkKind;

use super::Case;
use super::heal::{Break, heals};
use super::settle::assert_as_declared;
use super::teardown::nothing_is_left;
use crate::dump;
use crate::node::Node;
use crate::plans::{EDGE, declare, example, plan};

pub const CASES: &[(&str, Case)] = &[
    ("segments_of_all_five_treatments_are_made_kept_and_taken_away", all_five),
    ("a_thousand_policies_are_in_force_and_seen_to_be", a_thousand),
];

/// Needs what not every kernel has.
pub const STOCK_CASES: &[(&str, Case)] =
    &[("an_802_1q_trunk_carries_segments_of_four_treatments_and_comes_back_when_it_is_replugged", trunk)];

/// A site with everything.
pub fn van() -> Result<Inventory> {
    let mut inventory = example()?;
    declare(&mut inventory, include_str!("../manifests/treatments.yaml"))?;
    Ok(inventory)
}

/// Whether this kernel knows 802.1Q: it is asked for one.
pub fn has_802_1q() -> bool {
    let lo = ["link", "add", "link", "lo", "name", "psprobe", "type", "vlan", "id", "1"];
    let quietly = |words: &[&str]| Command::new("ip").args(words).output().is_ok_and(|output| output.status.success());
    quietly(&lo) && quietly(&["link", "del", "psprobe"])
}

const BREAKS: &[Break] = &[
    ("a segment's chain is flushed", "ip netns exec psvip nft flush chain inet pathsteer segment-lan1"),
    (
        "an element of a map is deleted",
        "ip netns exec psvip nft delete element inet pathsteer \
         $(ip netns exec psvip nft list maps | grep -o 'mixed1-[0-9a-f]*') '{ 17 . 5060 }'",
    ),
    (
        "an element is added to a map",
        "ip netns exec psvip nft add element inet pathsteer \
         $(ip netns exec psvip nft list maps | grep -o 'tunnel1-[0-9a-f]*') '{ 6 . 9 : 0x1000 }'",
    ),
    (
        "a counter is deleted with the rules that use it",
        "ip netns exec psvip nft 'flush chain inet pathsteer guard-lan2; delete counter inet pathsteer barred'",
    ),
    (
        "a quota is deleted with the copies it limits",
        "ip netns exec psvip nft 'flush chain ip pathsteer copy; delete quota ip pathsteer copies2'",
    ),
    ("the copies' table is deleted", "ip netns exec psvip nft delete table ip pathsteer"),
    ("forwarding is opened", "ip netns exec psvip nft insert rule inet pathsteer forward accept"),
    (
        "a link that copies go out of is made anew under its name",
        "ip -n psup3 link del psv; ip -n psvip link add psu3 type veth peer name psv netns psup3",
    ),
    ("translation is taken away", "ip netns exec psup1 nft flush chain inet pathsteer translate"),
    ("a WAN's guard is taken away", "ip netns exec psup1 nft flush chain inet pathsteer raw"),
    (
        "a route's MTU is changed",
        "ip -n psvip route replace table 7701 $(ip -n psvip route show table 7701 | sed 's/mtu [0-9]*/mtu 1000/') proto 77",
    ),
    ("a way straight to the internet is deleted", "ip -n psvip route del default table 7990 dev psu1"),
    ("a guest's rule is deleted", "ip -n psvip rule del pref 7991 iif lan2"),
    ("both rules of one priority are deleted", "ip -n psvip rule del pref 7991; ip -n psvip rule del pref 7991"),
    ("an IPv6 rule is deleted", "ip -n psvip -6 rule del pref 7990"),
];

fn all_five() -> Result<()> {
    let plan = plan(&mut van()?, EDGE)?;
    let with_mtu = plan.objects().routes.into_iter().filter(|route| route.mtu.is_some()).count();
    ensure!(with_mtu > 0, "the case needs routes with an MTU of their own");
    let mut node = Node::start("edge11", &plan)?;
    let took = node.settle()?;
    println!("edge11: in sync after {took:?}");
    assert_as_declared(&plan.objects(), node.observe()?);
    let counters = node.ip("netns exec psvip nft list counters")?;
    let zeros = counters.matches("packets 0 bytes 0").count();
    // What the node itself says meanwhile, to routers about multicast and to the far end about its path, is no attack.
    let forged = counters.lines().skip_while(|line| !line.contains("forgedMark")).nth(1);
    ensure!(zeros >= 4 && forged.is_some_and(|line| line.contains("packets 0")), "something was dropped: {counters}");
    let reference = dump::ours(&node.host)?;
    heals(&mut node, BREAKS, &reference)?;
    node.kill()?;
    node.teardown()?;
    nothing_is_left(&node, &plan.cards())
}

fn a_thousand() -> Result<()> {
    let mut inventory = van()?;
    for index in 0..1_000 {
        let port = 20_000 + index * 7;
        let policy = format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p{index:04}}}\n\
             spec: {{match: [{{protocol: udp, ports: [\"{port}-{}\"]}}], treatment: survivable, steeringClass: voice}}\n",
            port + 2
        );
        declare(&mut inventory, &policy)?;
    }
    let plan = plan(&mut inventory, EDGE)?;
    let mut node = Node::start("edge12", &plan)?;
    let took = node.settle()?;
    let elements = node.ip("netns exec psvip nft -n list maps")?.matches(" : 0x").count();
    ensure!(elements >= 1_000, "the map has {elements} elements");
    let (applies, said) = (node.applies(), node.said("not in sync"));
    node.ip("-n psvip rule del pref 7990")?;
    let healed = node.wait("put right", |node| node.applies() > applies && node.pending() == Some(vec![]))?;
    ensure!(node.said("not in sync") == said, "the rest was not seen as declared:\n{}", node.log().join("\n"));
    println!("edge12: {elements} elements in sync after {took:?}, a rule right again after {healed:?}");
    Ok(())
}

fn trunk() -> Result<()> {
    let mut inventory = van()?;
    inventory.vlans.clear();
    declare(&mut inventory, include_str!("../manifests/trunk.yaml"))?;
    let plan = plan(&mut inventory, EDGE)?;
    let tagged = plan.objects().links.into_iter().filter(|link| matches!(link.kind, LinkKind::Vlan { .. })).count();
    ensure!(tagged == 4, "{tagged} tagged segments");
    let mut node = Node::start("edge13", &plan)?;
    node.settle()?;
    assert_as_declared(&plan.objects(), node.observe()?);
    let reference = dump::ours(&node.host)?;
    heals(
        &mut node,
        &[
            ("a tagged segment is deleted", "ip -n psvip link del psq10"),
            (
                "a tagged segment has another id",
                "ip -n psvip link del psq20; ip -n psvip link add link lan0 name psq20 type vlan id 21",
            ),
            ("the trunk is moved away", "ip -n psvip link set lan0 netns psup1"),
        ],
        &reference,
    )?;
    node.kill()?;
    node.teardown()?;
    nothing_is_left(&node, &plan.cards()).context("after a trunk")
}
