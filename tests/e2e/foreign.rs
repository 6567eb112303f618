//! Foreign state: whatever does not carry our marks is never changed, and a teardown takes away what does.

use anyhow::{Context, Result, ensure};
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS};

use crate::kernel::shell;
use crate::stage::Stage;

/// Something that somebody else has put somewhere.
struct Foreign {
    host: &'static str,
    /// The empty name is the host's own.
    netns: &'static str,
    put: &'static [&'static str],
    /// A command each; what they print has to stay as it is.
    show: &'static [&'static str],
    remove: &'static [&'static str],
}

const FOREIGN: &[Foreign] = &[
    Foreign {
        host: EDGE,
        netns: "psvip",
        put: &["ip rule add priority 100 to 203.0.113.99 lookup main", "ip -6 rule add priority 100 lookup main"],
        show: &["ip rule show priority 100", "ip -6 rule show priority 100"],
        remove: &["ip rule delete priority 100", "ip -6 rule delete priority 100"],
    },
    Foreign {
        host: EDGE,
        netns: "psvip",
        put: &["ip route add 203.0.113.98/32 via 172.16.7.2 proto static"],
        show: &["ip route show 203.0.113.98"],
        remove: &["ip route delete 203.0.113.98/32"],
    },
    Foreign {
        host: EDGE,
        netns: "psvip",
        put: &["nft add table inet mine", "nft add chain inet mine input { type filter hook input priority 5 ; }"],
        show: &["nft list table inet mine"],
        remove: &["nft delete table inet mine"],
    },
    Foreign {
        host: EDGE,
        netns: "psup1",
        put: &["ip route add 203.0.113.97/32 via 192.168.1.1 proto static", "ip rule add priority 100 lookup main"],
        show: &["ip route show 203.0.113.97", "ip rule show priority 100"],
        remove: &["ip route delete 203.0.113.97/32", "ip rule delete priority 100"],
    },
    Foreign {
        host: ANCHOR_HOST,
        netns: "psan",
        put: &["ip rule add priority 100 to 203.0.113.99 lookup main", "nft add table inet mine"],
        show: &["nft list table inet mine", "ip rule show priority 100"],
        remove: &["ip rule delete priority 100", "nft delete table inet mine"],
    },
    Foreign {
        host: UPLINKS[0].name,
        netns: "",
        put: &["ip address add 192.168.1.2/24 dev edge0"],
        show: &["ip -4 -o address show dev edge0"],
        remove: &["ip address delete 192.168.1.2/24 dev edge0"],
    },
    Foreign {
        host: EDGE,
        netns: "",
        put: &["ip link add mine0 type veth peer name mine1", "ip address add 192.0.2.77/32 dev mine0"],
        show: &["ip -o address show dev mine0"],
        remove: &["ip link delete mine0"],
    },
    Foreign {
        host: EDGE,
        netns: "",
        put: &["ip rule add priority 100 to 203.0.113.99 lookup main", "nft add table inet mine", "ip netns add mine"],
        show: &["ip rule show priority 100", "nft list table inet mine", "ls /run/netns/mine"],
        remove: &["ip rule delete priority 100", "nft delete table inet mine", "ip netns delete mine"],
    },
    Foreign {
        host: EDGE,
        netns: "",
        put: &["ip route add unreachable 203.0.113.96/32 proto static"],
        show: &["ip route show 203.0.113.96"],
        remove: &["ip route delete unreachable 203.0.113.96/32"],
    },
];

pub fn case(stage: &mut Stage) -> Result<()> {
    for foreign in FOREIGN {
        on(stage, foreign, foreign.put)?;
    }
    let before = shown(stage, |_| true)?;
    let unchanged = |stage: &Stage, after: &str| -> Result<()> {
        let now = shown(stage, |_| true)?;
        ensure!(now == before, "after {after}: {now:#?}\nbefore: {before:#?}");
        Ok(())
    };

    stage.fleet.cli(&["mode", "set", EDGE, "training"])?;
    stage.fleet.cli(&["uplink", "fail", &format!("{EDGE}/starlink")])?;
    stage.ready()?;
    stage.settle()?;
    unchanged(stage, "changes of the plan")?;

    for node in [EDGE, ANCHOR_HOST] {
        let agent = stage.fleet.agent(node)?;
        agent.kill()?;
        agent.restart()?;
    }
    stage.settle()?;
    stage.as_planned()?;
    unchanged(stage, "a restart of the agents")?;

    shell(stage.edge(), "psvip", "ip rule delete priority 7717")?;
    shell(stage.anchor(), "psan", "nft delete table inet pathsteer")?;
    stage.as_planned()?;
    let rule = shell(stage.edge(), "psvip", "ip rule show priority 7717")?;
    ensure!(!rule.is_empty(), "the rule is not back");
    unchanged(stage, "a repair of drift")?;

    // What is in namespaces of ours goes with them.
    let outside = |foreign: &Foreign| foreign.netns.is_empty();
    let before = shown(stage, outside)?;
    stage.fleet.agent(EDGE)?.kill()?;
    let said = stage.fleet.agent_command(stage.edge(), &["teardown"])?;
    nothing_of_ours(stage.edge()).with_context(|| format!("teardown said {}", said.trim()))?;
    let now = shown(stage, outside)?;
    ensure!(now == before, "after a teardown: {now:#?}\nbefore: {before:#?}");

    stage.fleet.agent(EDGE)?.restart()?;
    stage.settle()?;
    stage.as_planned()?;
    for foreign in FOREIGN.iter().filter(|foreign| foreign.netns.is_empty() || foreign.host != EDGE) {
        on(stage, foreign, foreign.remove)?;
    }
    Ok(())
}

/// Four cards in the node's own namespace, and not a trace of us.
fn nothing_of_ours(node: &Host) -> Result<()> {
    let links = shell(node, "", "ip -br link show")?;
    for card in UPLINKS.iter().map(|uplink| uplink.card).chain(["lan0"]) {
        let is_card = |line: &str| line.split(['@', ' ']).next() == Some(card);
        ensure!(links.lines().any(is_card), "{card} has not come back: {links}");
    }
    ensure!(!links.lines().any(|line| line.starts_with("ps")), "a link is left: {links}");
    let namespaces = shell(node, "", "ls /run/netns")?;
    ensure!(!namespaces.lines().any(|line| line.starts_with("ps")), "a namespace is left: {namespaces}");
    ensure!(namespaces.lines().any(|line| line == "mine"), "a foreign namespace has gone: {namespaces}");
    for family in ["-4", "-6"] {
        let rules = shell(node, "", &format!("ip {family} rule show"))?;
        ensure!(!rules.lines().any(|line| line.starts_with("77") || line.starts_with("79")), "a rule is left: {rules}");
        let routes = shell(node, "", &format!("ip {family} route show table all proto 77"))?;
        ensure!(routes.is_empty(), "a route is left: {routes}");
    }
    let tables = shell(node, "", "nft list tables")?;
    ensure!(!tables.contains("pathsteer") && tables.contains("inet mine"), "nft has {tables}");
    let pins = shell(node, "", "ls /sys/fs/bpf")?;
    ensure!(!pins.contains("pathsteer"), "pins are left: {pins}");
    let processes = node.processes(&["pathsteer-agent"]);
    ensure!(processes.is_empty(), "processes are left: {processes:?}");
    Ok(())
}

fn on(stage: &Stage, foreign: &Foreign, lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| shell(stage.network.host(foreign.host), foreign.netns, line).map(drop))
}

/// All the foreign state that `wanted` says yes to, as text.
fn shown(stage: &Stage, wanted: impl Fn(&Foreign) -> bool) -> Result<Vec<String>> {
    let wanted = FOREIGN.iter().filter(|foreign| wanted(foreign));
    let commands = wanted.flat_map(|foreign| foreign.show.iter().map(move |command| (foreign, command)));
    let each = commands.map(|(foreign, command)| {
        let text = shell(stage.network.host(foreign.host), foreign.netns, command)?;
        ensure!(!text.trim().is_empty(), "`{command}` on {} shows nothing", foreign.host);
        Ok(text)
    });
    each.collect()
}
