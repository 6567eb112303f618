//! What somebody breaks is put right while the agent runs.

use anyhow::{Context, Result, bail, ensure};
use pathsteer_lab::host::Host;

use super::Case;
use crate::dump;
use crate::node::{Node, plug};
use crate::plans::{ANCHOR, EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("what_somebody_breaks_on_an_edge_is_made_again", edge),
    ("what_somebody_breaks_on_an_anchor_is_made_again", anchor),
    ("deleted_namespaces_are_let_go_and_made_again", namespaces),
    ("a_card_under_another_name_is_given_back_and_taken_again_under_its_own", renamed),
    ("a_worker_that_hangs_keeps_nothing_else_broken_and_is_replaced", hung_worker),
    ("half_made_namespaces_are_completed", half_made),
];

/// What is broken, by a script on the node.
pub type Break = (&'static str, &'static str);

const LINKS: &[Break] = &[
    ("a veth end is deleted", "ip -n psup1 link del psv"),
    ("the shim pair is deleted", "ip -n psvip link del ps1"),
    ("a TUN is deleted", "ip -n psup2 link del psw2a1"),
    ("a TUN is renamed", "ip -n psup2 link set psw2a1 down; ip -n psup2 link set psw2a1 name psx"),
    ("a veth end is set down", "ip -n psvip link set psu2 down"),
    ("an MTU is changed", "ip -n psvip link set ps0 mtu 1200"),
];

const CONTENTS: &[Break] = &[
    ("a rule is deleted", "ip -n psvip rule del pref 7717"),
    ("a rule is doubled", "ip -n psvip rule add pref 7717 fwmark 0x10300/0xf0f00 lookup 7719"),
    ("a route is replaced", "ip -n psvip route replace default dev psu3 table 7717 metric 10 proto 77"),
    ("every route of a table is flushed", "ip -n psvip route flush table 7718"),
    ("an address is deleted", "ip -n psvip address del 198.18.7.1/32 dev lo"),
    ("the nft table is deleted", "ip netns exec psvip nft delete table inet pathsteer"),
    (
        "an nft rule is added",
        "ip netns exec psup1 nft add rule inet pathsteer output drop || \
      ip netns exec psup1 nft add chain inet pathsteer mine",
    ),
];

const PINS: &[Break] = &[
    ("every pin is deleted", "rm -r /sys/fs/bpf/pathsteer"),
    ("the pins of the maps are deleted", "rm /sys/fs/bpf/pathsteer/*/ps_*"),
    ("one map's pin is deleted", "rm /sys/fs/bpf/pathsteer/*/ps_window"),
    (
        // Only links have pins. Filters of clsact, on older kernels, go with it.
        "the pins of the programs are deleted, or the programs",
        "tc -n psvip qdisc del dev ps1 clsact || tc -n psan qdisc del dev ps1 clsact || \
      rm -r /sys/fs/bpf/pathsteer/*/links",
    ),
];

fn edge() -> Result<()> {
    let mut node = Node::start("edge3", &example_plan(EDGE)?)?;
    node.settle()?;
    // Not ours: priority 100 is outside our range.
    node.ip("-n psvip rule add pref 100 fwmark 0x1000000/0x1000000 lookup main")?;
    let reference = dump::ours(&node.host)?;
    heals(&mut node, &[LINKS, CONTENTS, PINS].concat(), &reference)?;
    ensure!(reference.contains("\"priority\":100"), "the foreign rule is not in the dump");
    Ok(())
}

fn anchor() -> Result<()> {
    let mut node = Node::start("anchor3", &example_plan(ANCHOR)?)?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    let own: &[Break] = &[
        ("a TUN is deleted", "ip -n psan link del psw1"),
        ("the shim pair is deleted", "ip -n psan link del ps0"),
        ("a site's routes are deleted", "ip -n psan route flush table 7701"),
    ];
    heals(&mut node, &[own, PINS].concat(), &reference)
}

pub fn heals(node: &mut Node, breaks: &[Break], reference: &str) -> Result<()> {
    for (what, script) in breaks {
        let applies = node.applies();
        node.meddle(script)?;
        let took = node.wait("put right", |node| {
            node.applies() > applies
                && dump::ours(&node.host).is_ok_and(|now| now == reference)
                && node.pending() == Some(vec![])
        });
        let took = took.with_context(|| {
            let now = dump::ours(&node.host).unwrap_or_default();
            format!("{what}: {}", dump::difference(reference, &now))
        })?;
        println!("{}: {what}: right again after {took:?}", node.host.name);
    }
    Ok(())
}

fn namespaces() -> Result<()> {
    let mut node = Node::start("edge3n", &example_plan(EDGE)?)?;
    node.settle()?;
    node.host.output("ip", &["netns", "exec", "psup2", "nft", COUNT])?;
    let reference = dump::ours(&node.host)?;
    for (netns, cards) in [("psup1", &["wan1"][..]), ("psvip", &["lan0", "lan1", "lan2"])] {
        node.ip(&format!("netns del {netns}"))?;
        // A veth ends with its namespace (a real card would go home), and the namespace ends when nobody holds it.
        let gone = |node: &Node| cards.iter().all(|card| !has_link(&node.outside, &format!("far-{card}")));
        let freed = node.wait("let go", gone)?;
        cards.iter().try_for_each(|card| plug(&node.host, &node.outside, card))?;
        let healed = node.settle()?;
        let now = dump::ours(&node.host)?;
        ensure!(now == reference, "{netns}: {}", dump::difference(&reference, &now));
        let said = told(&node)?;
        node.wait("telling the far end of its path", |node| told(node).is_ok_and(|now| now > said))?;
        println!("{netns} deleted: let go after {freed:?}, in sync {healed:?} after its cards came back");
    }
    Ok(())
}

/// Counts what goes from the shim into a tunnel: on a node without clients that is what the switching machine says.
const COUNT: &str = "table inet count { chain told { type filter hook forward priority 0; ip protocol 47 counter; }; }";

/// How often the far end has been told of its path.
fn told(node: &Node) -> Result<u64> {
    let text = node.ip("netns exec psup2 nft list table inet count")?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|count| count.parse().ok()).with_context(|| format!("no count in {text}"))
}

fn renamed() -> Result<()> {
    let mut node = Node::start("edge3r", &example_plan(EDGE)?)?;
    node.settle()?;
    node.meddle("ip -n psup1 link set wan1 down && ip -n psup1 link set wan1 name eth9")?;
    node.wait("given back", |node| has_link(&node.host, "eth9"))?;
    node.ip("link set eth9 name wan1")?;
    let took = node.settle()?;
    println!("renamed card taken again after {took:?}");
    ensure!(!has_link(&node.host, "wan1"), "the card is still outside");
    Ok(())
}

fn half_made() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge3h", EDGE)?.begin(|node| {
        plan.cards().iter().try_for_each(|card| node.plug(card))?;
        // What an agent leaves that dies between making the file and mounting a namespace on it, and what one leaves
        // that dies a little later.
        node.host.output(
            "sh",
            &[
                "-c",
                "touch /run/netns/psup1; ip netns add psvip; ip -n psvip link add ps0 type veth \
                                        peer name ps1; ip -n psvip link add psu1 type veth peer name psx",
            ],
        )?;
        node.keep(&plan, 1)
    })?;
    node.settle()?;
    ensure!(
        dump::namespaces(&node.host)? == ["psup1", "psup2", "psup3", "psvip"],
        "{:?}",
        dump::namespaces(&node.host)?
    );
    Ok(())
}

fn hung_worker() -> Result<()> {
    let mut node = Node::start("edge3w", &example_plan(EDGE)?)?;
    node.settle()?;
    let workers = node.workers();
    let hung = node.host.processes(&["pathsteer-agent", "wireguard", "slot2.json"]);
    let [pid] = hung[..] else { bail!("one worker of slot 2: {hung:?}") };
    node.host.output("kill", &["-STOP", &pid.to_string()])?;
    node.ip("-n psvip rule del pref 7717")?;
    let healed =
        node.wait("put right", |node| node.ip("-n psvip rule show pref 7717").is_ok_and(|rule| !rule.is_empty()))?;
    let replaced = node.wait("with another worker", |node| {
        let now = node.workers();
        now.len() == workers.len() && !now.contains(&pid)
    })?;
    println!("edge3w: the rule is right after {healed:?}, the worker replaced {replaced:?} later");
    node.settle()?;
    Ok(())
}

fn has_link(host: &Host, name: &str) -> bool {
    host.output("ip", &["link", "show", name]).is_ok()
}
