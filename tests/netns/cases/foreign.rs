//! What is not ours stays as it is, whatever the agent does.

use anyhow::{Result, ensure};
use pathsteer_lab::host::Host;

use super::Case;
use crate::dump;
use crate::node::Node;
use crate::plans::{EDGE, example, plan};

pub const CASES: &[(&str, Case)] = &[
    ("what_is_not_ours_stays_byte_for_byte_from_before_the_agent_until_after_teardown", around),
    ("what_others_put_into_our_namespaces_stays_as_long_as_these_do", inside),
];

const CARDS: [&str; 6] = ["wan1", "wan2", "wan3", "lan0", "lan1", "lan2"];

/// Somebody else's namespace, and things in the node's own that come close to ours: a rule in our range of priorities,
/// a table with our name in another family, another protocol number.
pub const AROUND: &str = "
    set -e
    ip netns add mine
    ip link add mine0 type veth peer name mine1 netns mine
    # Nothing that takes the kernel a second to settle.
    ip link set mine0 addrgenmode none
    ip -n mine link set mine1 addrgenmode none
    ip address add 192.0.2.1/24 dev mine0
    ip address add 2001:db8:99::1/64 dev mine0 nodad
    ip link set mine0 up
    ip -n mine link set mine1 up
    ip -n mine address add 192.0.2.2/24 dev mine1
    for place in '' '-n mine'; do
        ip $place rule add pref 100 fwmark 5 lookup 100
        ip $place rule add pref 7750 from 192.0.2.9 lookup main
        ip $place -6 rule add pref 7751 from 2001:db8:99::9 lookup main
    done
    ip route add 198.51.100.0/24 via 192.0.2.2 proto static
    ip route add 198.51.101.0/24 dev mine0 table 7750 proto 99
    ip route add blackhole 10.100.0.0/16 metric 5000
    ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:03 dev mine0 nud permanent
    tc qdisc add dev mine0 clsact
    tc filter add dev mine0 ingress bpf bytecode '1,6 0 0 4294967295'
    sysctl -q -w net.ipv4.conf.mine0.rp_filter=2 net.ipv4.tcp_syncookies=2 net.ipv4.ip_forward=0
    nft -f - <<END
    table ip pathsteer { chain input { type filter hook input priority 0; tcp dport 22 accept; }; }
    table inet mine { set ports { type inet_service; elements = { 22, 80 }; }; }
END
    ip netns exec mine nft add table inet pathsteer
";

fn around() -> Result<()> {
    let mut inventory = example()?;
    let first = plan(&mut inventory, EDGE)?;
    let mut before = String::new();
    let mut node = Node::prepare("edge4", EDGE)?.begin(|node| {
        CARDS.iter().try_for_each(|card| node.plug(card))?;
        node.host.output("sh", &["-c", AROUND])?;
        node.keep(&first, 1)?;
        before = around_now(&node.host, &CARDS)?;
        Ok(())
    })?;
    ensure!(before.contains("7750") && before.contains("198.51.101.0"), "the dump shows too little");
    node.settle()?;
    unchanged("with the agent", &before, &around_now(&node.host, &CARDS)?)?;

    node.host.output("sh", &["-c", "ip -n psup1 link del psv; ip -n psvip rule del pref 7717"])?;
    node.settle()?;
    unchanged("after drift", &before, &around_now(&node.host, &CARDS)?)?;

    node.kill()?;
    inventory.uplinks.remove("rv-07/cellular");
    node.keep(&plan(&mut inventory, EDGE)?, 2)?;
    node.restart()?;
    node.settle()?;
    unchanged("with another plan", &before, &around_now(&node.host, &CARDS)?)?;

    node.kill()?;
    node.teardown()?;
    unchanged("after teardown", &before, &around_now(&node.host, &CARDS)?)
}

/// What of [`AROUND`] and of everything else that is not ours is there now, without the cards in `ours`.
pub fn around_now(host: &Host, ours: &[&str]) -> Result<String> {
    let filters = host.output("tc", &["filter", "show", "dev", "mine0", "ingress"])?;
    Ok(dump::foreign(host, "mine", ours)? + &filters)
}

/// Things of others in namespaces and on links of ours.
const INSIDE: &str = "
    set -e
    ip -n psvip rule add pref 100 fwmark 0x1000000/0x1000000 lookup 100
    ip -n psvip route add 203.0.113.0/24 dev lan0 table 100 proto static
    ip -n psup1 route add 203.0.113.0/24 dev wan1 proto static
    ip netns exec psvip nft -f - <<END
    table inet mine { chain input { type filter hook input priority 0; tcp dport 22 accept; }; }
END
    ip netns exec psvip tc qdisc add dev psu1 clsact
    ip netns exec psvip tc filter add dev psu1 ingress bpf bytecode '1,6 0 0 4294967295'
    ip netns exec psvip sysctl -q -w net.ipv4.tcp_syncookies=2 net.ipv4.conf.lan0.rp_filter=2
";

const INSIDE_NOW: &str = "
    ip -n psvip rule show pref 100
    ip -n psvip route show table 100
    ip -n psup1 route show proto static
    ip netns exec psvip nft list table inet mine
    ip netns exec psvip tc filter show dev psu1 ingress
    ip netns exec psvip sysctl net.ipv4.tcp_syncookies net.ipv4.conf.lan0.rp_filter
";

fn inside() -> Result<()> {
    let mut inventory = example()?;
    let mut node = Node::start("edge4i", &plan(&mut inventory, EDGE)?)?;
    node.settle()?;
    node.host.output("sh", &["-c", INSIDE])?;
    let now = |node: &Node| node.host.output("sh", &["-ec", INSIDE_NOW]);
    let before = now(&node)?;
    ensure!(before.lines().count() >= 10 && before.contains("203.0.113.0"), "the dump shows too little: {before}");

    node.host
        .output("sh", &["-c", "ip -n psvip rule del pref 7717; ip netns exec psvip nft delete table inet pathsteer"])?;
    node.settle()?;
    unchanged("after drift", &before, &now(&node)?)?;

    node.kill()?;
    node.restart()?;
    node.first_turn()?;
    unchanged("with a new agent", &before, &now(&node)?)?;

    node.kill()?;
    inventory.uplinks.remove("rv-07/cellular");
    node.keep(&plan(&mut inventory, EDGE)?, 2)?;
    node.restart()?;
    node.settle()?;
    unchanged("with another plan", &before, &now(&node)?)
}

fn unchanged(when: &str, before: &str, now: &str) -> Result<()> {
    ensure!(before == now, "{when}: {}", dump::difference(before, now));
    Ok(())
}
