//! What is not ours stays as it is, whatever the agent does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_compiler::Inventory;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use super::{Case, treatments};
use crate::dump;
use crate::foreign::{self, Ours};
use crate::node::Node;
use crate::plans::{EDGE, example, plan};

pub const CASES: &[(&str, Case)] = &[
    ("what_is_not_ours_stays_byte_for_byte_from_before_the_agent_until_after_teardown", around),
    ("what_is_not_ours_stays_byte_for_byte_when_the_agent_is_killed_while_it_applies", killed),
    ("what_others_put_into_our_namespaces_stays_as_long_as_these_do", inside),
];

const CARDS: [&str; 6] = ["wan1", "wan2", "wan3", "lan0", "lan1", "lan2"];

/// What others have on the node: as much as there is to have, and above all what comes close to ours.
pub const AROUND: &str = r#"
    set -e
    for name in mine psync psx0; do ip netns add $name; done
    ip link add mine0 type veth peer name mine1 netns mine
    # Called as ours might be, with a MAC that ours have.
    ip link add psx0 type veth peer name psync address 02:70:73:01:00:01
    ip -n psync link add psu1 address 02:70:73:01:00:01 type veth peer name psv netns psx0
    ip -n psync link add ps0 type veth peer name ps1
    ip link add br-mine type bridge
    # Nothing that takes the kernel a second to settle.
    for link in mine0 psx0 psync br-mine; do ip link set $link addrgenmode none; done
    ip -n mine link set mine1 addrgenmode none
    for link in psu1 ps0 ps1; do ip -n psync link set $link addrgenmode none; done
    ip -n psx0 link set psv addrgenmode none
    ip link set psx0 master br-mine
    for link in mine0 psx0 psync br-mine; do ip link set $link up; done
    ip -n mine link set mine1 up
    for link in psu1 ps0 ps1 lo; do ip -n psync link set $link up; done
    ip -n psx0 link set psv up

    ip link set mine0 alias 'pathsteer wan1 mine' txqueuelen 77 mtu 1380
    ip link property add dev mine0 altname mine-the-first
    ip address add 192.0.2.1/24 dev mine0
    ip address add 2001:db8:99::1/64 dev mine0 nodad
    ip address add 169.254.78.5/30 dev psync
    ip -n mine address add 192.0.2.2/24 dev mine1
    ip -n psync address add 169.254.77.1/30 dev ps0
    ip -n psync address add 198.51.100.77/24 dev psu1
    for place in '' '-n mine' '-n psync'; do
        ip $place rule add pref 100 fwmark 5 lookup 100
        ip $place rule add pref 7701 from 192.0.2.9 lookup main protocol static
        ip $place rule add pref 7999 from 192.0.2.10 blackhole
        ip $place -6 rule add pref 7751 from 2001:db8:99::9 lookup main
    done
    ip route add 198.51.100.0/24 via 192.0.2.2 proto static
    ip route add 198.51.101.0/24 dev mine0 table 7701 proto 99
    ip route add default dev mine0 table 7990 metric 10 proto static
    ip route add blackhole 10.100.0.0/16 metric 5000
    ip nexthop add id 77 via 192.0.2.2 dev mine0 protocol static
    ip route add 198.51.102.0/24 nhid 77
    # With our protocol number, in our tables and by rules that are ours to the letter, but where nothing is ours.
    for place in mine psync; do
        ip -n $place rule add pref 7717 fwmark 0x10100/0xf0f00 lookup 7717 protocol 77
        ip -n $place -6 rule add pref 7990 fwmark 0x100000/0xf00000 lookup 7990 protocol 77
        ip -n $place route add blackhole default metric 1000 table 7717 proto 77
        ip -n $place route add blackhole 10.100.0.0/16 metric 1000 proto 77
        ip -n $place -6 route add blackhole 2001:db8:77::/64 table 7990 proto 77
    done
    ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:03 dev mine0 nud permanent
    ip neigh add proxy 192.0.2.4 dev mine0
    ip -n psync neigh add 169.254.77.2 lladdr 02:70:73:00:00:02 dev ps0 nud permanent
    ip xfrm policy add src 192.0.2.0/24 dst 203.0.113.0/24 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel
    bridge fdb add 02:00:00:00:00:09 dev psx0 master static

    tc qdisc add dev mine0 clsact
    tc filter add dev mine0 ingress bpf bytecode '1,6 0 0 4294967295'
    tc qdisc add dev psync handle 77: root htb default 1
    tc class add dev psync parent 77: classid 77:1 htb rate 1gbit
    tc filter add dev psync parent 77: prio 7 protocol ip u32 match ip dport 22 0xffff flowid 77:1
    tc -n psync qdisc add dev ps1 clsact
    tc -n psync filter add dev ps1 ingress prio 1 bpf da bytecode '1,6 0 0 4294967295'
    mkdir -p /sys/fs/bpf/mine /sys/fs/bpf/pathsteer_mine
    for kind in tc xdp; do
        printf '__attribute__((section("%s"), used)) int mine(void *packet) { return 2 - 3 * (%d); }' \
            $kind $([ $kind = tc ] && echo 1 || echo 0) | clang -O2 -target bpf -x c -c -o /run/mine.o -
        bpftool prog load /run/mine.o /sys/fs/bpf/mine/$kind
    done
    bpftool map create /sys/fs/bpf/pathsteer_mine/ps_window type array key 4 value 4 entries 2 name ps_window
    bpftool map update pinned /sys/fs/bpf/pathsteer_mine/ps_window key 1 0 0 0 value 7 7 0 0
    tc filter add dev mine0 egress bpf da pinned /sys/fs/bpf/mine/tc
    ip link set mine0 xdpgeneric pinned /sys/fs/bpf/mine/xdp

    sysctl -q -w net.ipv4.conf.mine0.rp_filter=2 net.ipv4.tcp_syncookies=2 net.ipv4.ip_forward=0 \
        net.ipv4.conf.psx0.forwarding=1 net.ipv4.neigh.mine0.gc_stale_time=77
    ip netns exec psync sysctl -q -w net.ipv4.conf.all.rp_filter=2 net.ipv6.conf.all.forwarding=0
    nft -f - <<END
    table ip pathsteer { chain input { type filter hook input priority 0; tcp dport 22 counter accept; }; }
    table inet mine { set ports { type inet_service; elements = { 22, 80 }; }; }
    table netdev mine { chain in { type filter hook ingress device mine0 priority 0; }; }
END
    for place in mine psync; do
        ip netns exec $place nft -f - <<END
    table inet pathsteer { chain forward { type filter hook forward priority 0; policy drop; counter; }; }
END
    done
    for name in mine psync; do
        mkdir -p /etc/netns/$name
        echo "nameserver 192.0.2.53" >/etc/netns/$name/resolv.conf
    done
    touch /run/netns/half-made
    mkdir /run/mine
    mount -t tmpfs mine /run/mine
"#;

/// What only a stock kernel has.
const STOCK: &str = r#"
    set -e
    umask 077
    wg genkey >/etc/mine.key
    ip link add psw1 type wireguard
    wg set psw1 private-key /etc/mine.key listen-port 7701 peer "$(wg genkey | wg pubkey)" allowed-ips 10.77.0.0/24 \
        endpoint 192.0.2.2:51820
    ip address add 10.77.0.1/24 dev psw1
    ip -n psync link add psw1 type wireguard
    ip netns exec psync wg set psw1 private-key /etc/mine.key listen-port 7702
    for link in psw1; do ip link set $link up; ip -n psync link set $link up; done
    ip link add link mine0 name psq77 type vlan id 77
    ip link set psq77 addrgenmode none up
    ip link add docker0 type bridge vlan_filtering 1
    ip link set docker0 addrgenmode none up
    ip address add 172.17.0.1/16 dev docker0
    ip link add psdummy type dummy
    ip link set psdummy addrgenmode none master docker0 up
    bridge vlan add dev psdummy vid 77 pvid untagged
"#;

/// Cards as somebody uses them who has yet to hear of us.
const USED: &str = r#"
    set -e
    for card in wan1 lan0; do ip link set $card addrgenmode none; done
    ip link set wan1 alias 'the fiber' txqueuelen 77 mtu 1480
    ip link property add dev wan1 altname the-fiber
    ip link set lan0 up
    ip link set wan1 up
    ip address add 203.0.113.7/24 brd 203.0.113.99 dev wan1 label wan1:mine
    ip address add 203.0.113.8/24 dev wan1 metric 77
    ip address add 2001:db8:113::7/64 dev wan1 nodad
    ip address add 192.168.77.1/24 dev lan0
    ip route add 198.51.103.0/24 via 203.0.113.1 dev wan1 metric 77 mtu 1400 proto static
    ip route add 198.51.104.0/24 dev lan0 table 77
    ip route add 198.51.105.0/24 via 10.9.9.9 dev lan0 onlink src 192.168.77.1
    ip -6 route add 2001:db8:114::/64 via 2001:db8:113::1 dev wan1 metric 77
    ip neigh add 203.0.113.1 lladdr 02:00:00:00:00:77 dev wan1 nud permanent
    sysctl -q -w net.ipv4.conf.wan1.rp_filter=2 net.ipv4.conf.wan1.arp_ignore=1 net.ipv4.neigh.wan1.gc_stale_time=77 \
        net.ipv6.conf.lan0.accept_ra=0
"#;

/// Programs that somebody has on a card. They go when a card changes its namespace, whoever moves it: the kernel takes its
/// queueing disciplines down, and the filters with them (`dev_shutdown` in `__dev_change_net_namespace`).
const FILTERED: &str = "
    set -e
    tc qdisc add dev CARD clsact
    tc filter add dev CARD ingress bpf da pinned /sys/fs/bpf/mine/tc
    tc filter show dev CARD ingress
";

/// A node with all of that and an agent, and what it was like before.
struct Stage {
    node: Node,
    inventory: Inventory,
    /// All but the cards.
    before: String,
    /// With them.
    home: String,
}

fn stage(name: &'static str) -> Result<Stage> {
    let mut inventory = example()?;
    let first = plan(&mut inventory, EDGE)?;
    let (mut before, mut home) = (String::new(), String::new());
    let node = Node::prepare(name, EDGE)?.begin(|node| {
        CARDS.iter().try_for_each(|card| node.plug(card))?;
        let script = |text: &str| node.host.output("sh", &["-c", text]);
        script(AROUND)?;
        if treatments::has_802_1q() {
            script(STOCK)?;
        }
        script(USED)?;
        node.keep(&first, 1)?;
        (before, home) = (now(&node.host)?, foreign::dump(&node.host, &Ours::default())?);
        unchanged("looked at twice", &home, &foreign::dump(&node.host, &Ours::default())?)
    })?;
    let shown = [
        "7701",
        "198.51.101.0",
        "\"protocol\":\"77\"",
        "nhid",
        "the-fiber",
        "mine-the-first",
        "pathsteer_mine/ps_window",
        "xdp",
        "u32",
        "02:70:73:01:00:01",
        "203.0.113.0/24",
        "gc_stale_time = 77",
        "/etc/netns/psync",
        "/run/netns/psync",
        "half-made",
        " / /run/mine rw",
        "\"02:00:00:00:00:09\"",
        "proxy",
    ];
    for one in shown {
        ensure!(home.contains(one), "the dump does not show {one}:\n{home}");
    }
    Ok(Stage { node, inventory, before, home })
}

/// What of [`AROUND`] and of everything else that is not ours is there now, without the cards in `ours`.
pub fn around_now(host: &Host, ours: &[&str]) -> Result<String> {
    foreign::dump(host, &Ours { cards: ours, in_place: None })
}

fn now(host: &Host) -> Result<String> {
    around_now(host, &CARDS)
}

fn around() -> Result<()> {
    let Stage { mut node, mut inventory, before, home } = stage("edge4")?;
    node.settle()?;
    unchanged("with the agent", &before, &now(&node.host)?)?;

    node.host.output("sh", &["-c", "ip -n psup1 link del psv; ip -n psvip rule del pref 7717"])?;
    node.settle()?;
    unchanged("after drift", &before, &now(&node.host)?)?;

    type Change = (&'static str, fn(&mut Inventory) -> Result<()>);
    let changes: [Change; 3] = [
        ("an uplink less", |inventory| inventory.uplinks.remove("rv-07/cellular").map(drop).context("it has it")),
        ("no segment and another MTU", |inventory| {
            inventory.vlans.clear();
            inventory.uplinks.get_mut("rv-07/fiber").context("it has it")?.mtu = 1_460;
            Ok(())
        }),
        ("everything again", |inventory| {
            *inventory = example()?;
            Ok(())
        }),
    ];
    for (generation, (what, change)) in (2..).zip(changes) {
        change(&mut inventory)?;
        node.kill()?;
        node.keep(&plan(&mut inventory, EDGE)?, generation)?;
        node.restart()?;
        node.settle()?;
        unchanged(what, &before, &now(&node.host)?)?;
        let cards: Vec<&str> =
            CARDS.into_iter().filter(|card| node.ip(&format!("link show {card}")).is_err()).collect();
        let with_given_back = |whole: &str| -> Vec<String> {
            let taken = |line: &&str| !cards.iter().any(|card| line.contains(card));
            whole.lines().filter(taken).map(str::to_owned).collect()
        };
        let after = foreign::dump(&node.host, &Ours { cards: &cards, in_place: None })?;
        unchanged(what, &with_given_back(&home).join("\n"), &with_given_back(&after).join("\n"))?;
        println!("{}: {what}: taken {cards:?}, the rest as before", node.host.name);
    }

    node.kill()?;
    node.teardown()?;
    unchanged("after teardown", &home, &foreign::dump(&node.host, &Ours::default())?)?;

    // What the kernel does not keep is not kept, by whatever hand a card is moved.
    for card in ["wan2", "wan3"] {
        let filters = node.host.output("sh", &["-c", &FILTERED.replace("CARD", card)])?;
        ensure!(filters.contains("bpf"), "there is no filter to lose on {card}: {filters}");
    }
    node.ip("link set wan3 netns mine")?;
    ensure!(!node.ip("netns exec mine tc qdisc show dev wan3")?.contains("clsact"), "this kernel keeps filters");
    node.restart()?;
    node.wait("taken", |node| node.ip("-n psup2 link show wan2").is_ok())?;
    node.kill()?;
    node.teardown()?;
    let left = node.host.output("tc", &["qdisc", "show", "dev", "wan2"])?;
    ensure!(!left.contains("clsact"), "the kernel keeps filters now: {left}");
    Ok(())
}

/// The longest life of an agent, in milliseconds: an undisturbed one is done by then.
const LONGEST: u64 = 400;

fn killed() -> Result<()> {
    let Stage { mut node, before, home, .. } = stage("edge4k")?;
    // Lives of all lengths, the same ones in every run (a step that shares no factor with the longest).
    for life in (0..4).map(|round| 1 + round * 157 % LONGEST) {
        node.kill()?;
        unchanged(&format!("killed before {life} ms"), &before, &now(&node.host)?)?;
        node.teardown()?;
        unchanged(&format!("after teardown before {life} ms"), &home, &foreign::dump(&node.host, &Ours::default())?)?;
        node.restart()?;
        // Not a wait for something to happen: the point in time is what is tested.
        clock::sleep_until(clock::now() + Duration::from_millis(life));
        node.kill()?;
        unchanged(&format!("killed after {life} ms"), &before, &now(&node.host)?)?;
        node.restart()?;
        node.settle()?;
        unchanged(&format!("settled after {life} ms"), &before, &now(&node.host)?)?;
    }
    node.kill()?;
    node.teardown()?;
    unchanged("after teardown", &home, &foreign::dump(&node.host, &Ours::default())?)
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

pub fn unchanged(when: &str, before: &str, now: &str) -> Result<()> {
    ensure!(before == now, "{when}: {}", dump::difference(before, now));
    Ok(())
}
