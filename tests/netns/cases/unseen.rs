//! What happens while the agent cannot look: notifications that are lost, indexes that come back, namespaces that go
//! during a turn.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Case;
use crate::dump;
use crate::node::{Node, plug};
use crate::plans::{ANCHOR, EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("drift_whose_notification_was_lost_in_an_overrun_is_put_right", overrun),
    ("a_link_made_anew_under_the_same_index_is_no_longer_what_it_was", same_index),
    ("an_index_that_came_back_on_another_link_is_not_taken_for_the_old_one", index_of_another),
    ("a_namespace_that_goes_during_a_turn_is_made_again", || during_a_turn("edge40", EDGE, "psup2")),
    ("the_namespace_of_an_anchor_that_goes_during_a_turn_is_made_again", || during_a_turn("anchor40", ANCHOR, "psan")),
];

/// Far under the resync, far above what a loaded machine needs.
const NOTICED: Duration = Duration::from_secs(20);

/// Carries out `script` while the agent stands still, and waits until all is as in `reference` again.
fn behind_its_back(node: &mut Node, what: &str, script: &str, reference: &str) -> Result<()> {
    let pid = node.pid().to_string();
    node.host.output("kill", &["-STOP", &pid])?;
    let done = node.host.output("sh", &["-ec", script]);
    node.host.output("kill", &["-CONT", &pid])?;
    done.with_context(|| what.to_owned())?;
    let took = node.wait("put right", |node| {
        dump::ours(&node.host).is_ok_and(|now| now == reference) && node.pending() == Some(vec![])
    });
    let took = took.with_context(|| {
        let now = dump::ours(&node.host).unwrap_or_default();
        format!("{what}: {}", dump::difference(reference, &now))
    })?;
    println!("{}: {what}: right again after {took:?}", node.host.name);
    ensure!(took < NOTICED, "{what}: nobody noticed for {took:?}");
    Ok(())
}

/// More hosts on a LAN come and go than the agent's socket has room for: that alone is nothing to it.
const BURST: &str = "
    for round in $(seq 40); do
        for host in $(seq 2 120); do
            echo neigh replace 172.16.7.$host lladdr 02:00:00:00:$round:$host dev lan0 nud stale
        done
    done > /run/burst
    sed -i 's/:\\([0-9]\\)\\([0-9]\\)\\([0-9]\\) dev/:\\2\\3 dev/' /run/burst
    ip -n psvip -batch /run/burst
    rm /run/burst
    ip -n psvip rule del pref 7717
    ip -n psvip route flush table 7718
    # The column of what was lost, of some socket there.
    ip netns exec psvip awk '$9 > 0 { lost = 1 } END { exit !lost }' /proc/net/netlink
";

fn overrun() -> Result<()> {
    let mut node = Node::start("edge38", &example_plan(EDGE)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    behind_its_back(&mut node, "an overrun", BURST, &reference)
}

fn same_index() -> Result<()> {
    let mut node = Node::start("edge39", &example_plan(EDGE)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    for (what, script) in [
        (
            "a pair under its indexes",
            "
            here=$(ip netns exec psvip cat /sys/class/net/psu1/ifindex)
            there=$(ip netns exec psup1 cat /sys/class/net/psv/ifindex)
            ip -n psvip link del psu1
            ip -n psvip link add psu1 index $here type veth peer name psv index $there netns psup1
            ip -n psvip link set psu1 up
            ip -n psup1 link set psv up
            test $(ip netns exec psvip cat /sys/class/net/psu1/ifindex) = $here
            ",
        ),
        (
            "a tunnel under its index",
            "
            index=$(ip netns exec psup2 cat /sys/class/net/psw2a1/ifindex)
            ip -n psup2 link del psw2a1
            ip -n psup2 link add psw2a1 index $index type bridge
            ip -n psup2 link set psw2a1 up
            ",
        ),
    ] {
        behind_its_back(&mut node, what, script, &reference)?;
    }
    Ok(())
}

fn index_of_another() -> Result<()> {
    let mut node = Node::start("edge39i", &example_plan(EDGE)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    for link in ["psu2", "ps1"] {
        let script = format!(
            "
            index=$(ip netns exec psvip cat /sys/class/net/{link}/ifindex)
            ip -n psvip link del {link}
            ip -n psvip link add psx index $index type bridge
            ip -n psvip link set psx up
            "
        );
        behind_its_back(&mut node, &format!("another link under the index of {link}"), &script, &reference)?;
    }
    Ok(())
}

/// The namespace is deleted as soon as the one turn that there is has made this and that.
fn during_a_turn(name: &'static str, identity: &'static str, netns: &'static str) -> Result<()> {
    let plan = example_plan(identity)?;
    let mut node = Node::start(name, &plan)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    let moments: [fn(&Node, &str) -> bool; 4] = [
        |node, netns| node.ip(&format!("-n {netns} link show lo up")).is_ok_and(|found| !found.is_empty()),
        |node, netns| node.ip(&format!("-n {netns} route show table all proto 77")).is_ok_and(|all| !all.is_empty()),
        |node, netns| node.ip(&format!("netns exec {netns} nft list table inet pathsteer")).is_ok(),
        |node, _| !node.workers().is_empty(),
    ];
    for (number, moment) in moments.into_iter().enumerate() {
        node.kill()?;
        node.teardown()?;
        node.restart()?;
        node.wait("at the moment", |node| moment(node, netns))?;
        node.ip(&format!("netns del {netns}"))?;
        let took = node.wait("in sync", |node| {
            // A real card would come home; a veth ends, as soon as nobody holds the namespace.
            let is_gone = |card: &String| node.outside.output("ip", &["link", "show", &format!("far-{card}")]).is_err();
            let again = plan.cards().iter().filter(|card| is_gone(card)).all(|card| {
                // one that is on its way comes in the next round
                plug(&node.host, &node.outside, card).is_ok()
            });
            again && node.pending() == Some(vec![])
        })?;
        let now = dump::ours(&node.host)?;
        ensure!(now == reference, "moment {number}: {}", dump::difference(&reference, &now));
        println!("{name}: {netns} deleted at moment {number}, in sync {took:?} later");
        ensure!(took < NOTICED, "moment {number}: nobody noticed for {took:?}");
    }
    Ok(())
}
