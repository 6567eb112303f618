//! What `doctor` finds: every clash made for real, named with its remedy, and gone when that has been done.

use anyhow::{Context, Result, ensure};

use super::in_place::with_modem;
use super::{Case, treatments};
use crate::node::{CONFIG, Node, Printed, plug};
use crate::plans::{ANCHOR, EDGE, declare, example_plan, plan};

pub const CASES: &[(&str, Case)] = &[
    ("doctor_names_who_is_in_the_way_of_an_edge_that_works", in_the_way),
    ("doctor_names_what_keeps_an_edge_from_beginning", before_it_begins),
    ("doctor_names_a_strict_filter_on_an_anchor_with_two_ways", anchor),
    ("doctor_works_without_a_configuration_and_says_what_it_leaves_out", without_configuration),
    ("doctor_names_what_the_kernel_does_not_do", features),
];

/// Something that is made, and what is found then, as the beginning of a line and as words of its remedy.
struct Clash {
    make: &'static str,
    found: &'static str,
    remedy: &'static str,
    /// Something like it that does no harm: the remedy, or what others do rightly.
    twin: &'static str,
    undo: &'static str,
}

/// On an edge whose agent has done its work.
const IN_THE_WAY: &[Clash] = &[
    Clash {
        make: "sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.wwan0.rp_filter=0",
        found: "FAIL  strict reverse-path filter on wwan0: ",
        remedy: "sysctl -w net.ipv4.conf.wwan0.rp_filter=2",
        twin: "sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.wwan0.rp_filter=2",
        undo: "sysctl -q -w net.ipv4.conf.all.rp_filter=0",
    },
    Clash {
        make: "ip rule add pref 100 lookup 77; ip route add default dev eth0 table 77",
        found: "FAIL  foreign rule 100 in the node's own namespace (ip rule): ",
        remedy: "give it a priority above 7999, or a condition that leaves ours out",
        twin: "ip rule del pref 100; ip rule add pref 8000 lookup 77; ip rule add pref 100 from 192.0.2.0/24 lookup 77; \
               ip rule add pref 101 fwmark 0x80000/0xff0000 lookup 77; ip rule add pref 102 iif eth0 lookup 77; \
               ip rule add pref 103 lookup 78; ip route add 100.64.0.0/10 dev eth0 table 78",
        undo: "for pref in 8000 100 101 102 103; do ip rule del pref $pref; done; ip route flush table 77; ip route flush table 78",
    },
    Clash {
        make: "ip rule add pref 200 not fwmark 0xca6c lookup 51820; ip route add default dev eth0 table 51820",
        found: "FAIL  foreign rule 200 in the node's own namespace (ip rule): ",
        remedy: "takes our traffic",
        twin: "ip rule del pref 200; ip rule add pref 200 lookup main suppress_prefixlength 0",
        undo: "ip rule del pref 200; ip route flush table 51820",
    },
    Clash {
        make: "ip rule add pref 300 ipproto 17 dport 51820 blackhole",
        found: "warn  foreign rule 300 in the node's own namespace (ip rule): ",
        remedy: "takes a part of our traffic",
        twin: "ip rule del pref 300",
        undo: "true",
    },
    Clash {
        make: "ip -n psvip rule add pref 100 lookup 77; ip -n psvip route add blackhole default table 77; \
               ip -n psvip -6 rule add pref 101 blackhole",
        found: "FAIL  foreign rule 101 in psvip (ip -n psvip -6 rule): ",
        remedy: "it is asked before ours and takes our traffic",
        twin: "ip -n psvip rule del pref 100; ip -n psvip -6 rule del pref 101; \
               ip -n psvip rule add pref 100 fwmark 0x1000000/0x1000000 lookup 77",
        undo: "ip -n psvip rule del pref 100; ip -n psvip route flush table 77",
    },
    // As docker makes it with iptables-nft, and what its documentation says is for others.
    Clash {
        make: "nft -f - <<END
                 table ip filter {
                   chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
                   chain DOCKER-USER { return; }
                 }
END",
        found: "FAIL  docker's firewall does not let psh3 pass to wwan0: ",
        remedy: "iptables -I DOCKER-USER -i psh3 -o wwan0 -j ACCEPT",
        twin: "nft insert rule ip filter DOCKER-USER iifname psh3 oifname wwan0 accept",
        undo: "nft delete table ip filter",
    },
    Clash {
        make: "nft -f - <<END
                 table inet firewalld {
                   chain filter_FORWARD {
                     type filter hook forward priority filter + 10; policy accept;
                     ct state { established, related } accept
                     jump filter_FORWARD_ZONES
                     reject with icmpx type admin-prohibited
                   }
                   chain filter_FORWARD_ZONES { goto filter_FWD_public; }
                   chain filter_FWD_public { return; }
                   chain filter_FWD_trusted { accept; }
                 }
END",
        found: "FAIL  firewalld does not let psh3 pass to wwan0: ",
        remedy: "firewall-cmd --permanent --zone=trusted --add-interface=psh3 && firewall-cmd --reload",
        twin: "nft insert rule inet firewalld filter_FORWARD_ZONES iifname psh3 goto filter_FWD_trusted",
        undo: "nft delete table inet firewalld",
    },
    Clash {
        make: "nft add table inet filter; nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'",
        found: "FAIL  the nft chain inet filter forward does not let psh3 pass to wwan0: ",
        remedy: "nft insert rule inet filter forward iifname psh3 oifname wwan0 accept",
        twin: "nft 'chain inet filter forward { policy accept; }'; nft add chain inet filter input '{ type filter hook input \
               priority 0; policy drop; }'",
        undo: "nft delete table inet filter",
    },
    Clash {
        make: "ip link add docker0 type bridge; ip link set docker0 up; ip address add 172.16.7.129/25 dev docker0",
        found: "warn  docker0 has 172.16.7.128/25, as a segment of the plan has 172.16.7.0/24: ",
        remedy: "give one of them another network",
        twin: "ip address flush dev docker0; ip address add 172.17.0.1/16 dev docker0",
        undo: "ip link del docker0",
    },
    Clash {
        make: "ip address add 10.100.3.7/24 dev wwan0",
        found: "FAIL  wwan0 has 10.100.3.0/24, in the overlay 10.100.0.0/16: ",
        remedy: "choose another Fabric.overlay",
        twin: "ip address del 10.100.3.7/24 dev wwan0; ip address add 10.101.3.7/24 dev wwan0",
        undo: "ip address del 10.101.3.7/24 dev wwan0",
    },
    Clash {
        make: "ip link add psync0 type bridge",
        found: "warn  foreign interface psync0: ",
        remedy: "rename it: ip link set psync0 name",
        twin: "ip link set psync0 name sync0",
        undo: "ip link del sync0",
    },
];

/// On an edge that has yet to begin: its cards are at home.
const BEFORE: &[Clash] = &[
    Clash {
        make: "mkdir -p /etc/NetworkManager/conf.d /run/NetworkManager; printf '[main]\\nplugins=keyfile\\n' \
               >/etc/NetworkManager/NetworkManager.conf; echo 77 >/run/NetworkManager/NetworkManager.pid",
        found: "warn  NetworkManager configures lan0, lan1, lan2, wan1, wan2: ",
        remedy: "unmanaged-devices+=interface-name:lan0;interface-name:lan1;interface-name:lan2;interface-name:wan1;\
                 interface-name:wan2;interface-name:ps*`",
        twin: "printf '[keyfile]\\nunmanaged-devices+=interface-name:lan0;interface-name:lan1;interface-name:lan2;\
               interface-name:wan1;interface-name:wan2;interface-name:ps*\\n' >/etc/NetworkManager/conf.d/90-pathsteer.conf",
        undo: "rm -r /etc/NetworkManager /run/NetworkManager",
    },
    Clash {
        make: "mkdir -p /run/systemd/netif/links; printf 'ADMIN_STATE=configured\\nOPER_STATE=routable\\n' \
               >/run/systemd/netif/links/$(cat /sys/class/net/wan1/ifindex)",
        found: "warn  systemd-networkd configures wan1: ",
        remedy: "/etc/systemd/network/05-pathsteer.network with the lines `[Match]`, `Name=wan1`, `[Link]` and `Unmanaged=yes`",
        twin: "printf 'ADMIN_STATE=unmanaged\\n' >/run/systemd/netif/links/$(cat /sys/class/net/wan1/ifindex)",
        undo: "rm -r /run/systemd",
    },
    Clash {
        make: "mkdir -p /etc/network/interfaces.d; echo 'source /etc/network/interfaces.d/*' >/etc/network/interfaces; \
               printf 'auto wan2\\niface wan2 inet dhcp\\n' >/etc/network/interfaces.d/wan",
        found: "warn  ifupdown configures wan2: ",
        remedy: "leave only `iface wan2 inet manual`",
        twin: "printf 'iface wan2 inet manual\\n' >/etc/network/interfaces.d/wan",
        undo: "rm -r /etc/network",
    },
    Clash {
        make: "echo 'denyinterfaces lan*' >/etc/dhcpcd.conf",
        found: "warn  dhcpcd configures wan1, wan2: ",
        remedy: "add the line `denyinterfaces wan1 wan2` to /etc/dhcpcd.conf",
        twin: "echo 'denyinterfaces wan1 wan2' >>/etc/dhcpcd.conf",
        undo: "rm /etc/dhcpcd.conf",
    },
    Clash {
        make: "ip link set wan2 down; ip link set wan2 name elsewhere",
        found: "FAIL  card wan2: ",
        remedy: "plug it in, or correct the interface",
        twin: "ip link set elsewhere name wan2",
        undo: "true",
    },
    Clash {
        make: "ip link set wwan0 down; ip link set wwan0 name elsewhere",
        found: "FAIL  card wwan0, to stay where it is: ",
        remedy: "plug it in, or correct the Uplink's interface",
        twin: "ip link set elsewhere name wwan0",
        undo: "true",
    },
    Clash {
        make: "ip link add br0 type bridge; ip link set wan1 master br0",
        found: "warn  card wan1 belongs to br0: ",
        remedy: "ip link set wan1 nomaster",
        twin: "ip link set wan1 nomaster",
        undo: "ip link del br0",
    },
    Clash {
        make: "ip address add 10.100.3.7/24 dev wan1; ip address add 172.16.7.9/24 dev lan0",
        found: "FAIL  wan1 has 10.100.3.0/24, in the overlay 10.100.0.0/16: ",
        remedy: "choose another Fabric.overlay",
        // That a segment's own card has the segment's network already is no clash.
        twin: "ip address del 10.100.3.7/24 dev wan1",
        undo: "ip address del 172.16.7.9/24 dev lan0",
    },
    Clash {
        make: "ip link add psn4 type bridge",
        found: "FAIL  foreign interface psn4: ",
        remedy: "the agent takes it for its own",
        twin: "ip link del psn4",
        undo: "true",
    },
    Clash {
        make: "mount --bind /var/lib/pathsteer /var/lib/pathsteer; mount -o remount,bind,ro /var/lib/pathsteer",
        found: "FAIL  room in /var/lib/pathsteer: ",
        remedy: "mount -o remount,rw",
        twin: "mount -o remount,bind,rw /var/lib/pathsteer",
        undo: "umount /var/lib/pathsteer",
    },
    Clash {
        make: "mkdir /run/small; mount -t tmpfs -o size=4m small /run/small; cp -a /var/lib/pathsteer/. /run/small/; \
               mount --bind /run/small /var/lib/pathsteer",
        found: "FAIL  room in /var/lib/pathsteer: ",
        remedy: "KiB are free, the next plan may need 16 MiB",
        twin: "mount -o remount,size=40m /run/small",
        undo: "umount /var/lib/pathsteer /run/small",
    },
    Clash {
        make: "touch -d '+50 hours' /var/lib/pathsteer/plan.json",
        found: "warn  clock not behind what the agent has written: ",
        remedy: "it is behind by",
        twin: "touch /var/lib/pathsteer/plan.json",
        undo: "true",
    },
    Clash {
        make: "mount -t tmpfs none /dev/net",
        found: "FAIL  /dev/net/tun: ",
        remedy: "modprobe tun",
        twin: "umount /dev/net",
        undo: "true",
    },
    Clash {
        make: "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
        found: "FAIL  writable /proc/sys: ",
        remedy: "run it outside a container",
        twin: "umount /proc/sys",
        undo: "true",
    },
];

/// An edge with a modem that stays in the node's own namespace, as an agent has left it that was ended.
fn edge(name: &'static str) -> Result<Node> {
    let first = plan(&mut with_modem()?, EDGE)?;
    let mut node = Node::prepare(name, EDGE)?.begin(|node| {
        plan_cards(&first.cards(), node)?;
        node.host.ip("link set wwan0 up\nlink set eth0 up\naddress add 10.64.0.7/24 dev wwan0\n\
                      address add 192.0.2.7/24 dev eth0\nroute add default via 10.64.0.1 dev wwan0 metric 700")?;
        node.keep(&first, 1)
    })?;
    node.settle()?;
    node.kill()?;
    Ok(node)
}

fn plan_cards(cards: &[String], node: &crate::node::Prepared) -> Result<()> {
    let beside = ["wwan0".to_owned(), "eth0".to_owned()];
    cards.iter().chain(&beside).try_for_each(|card| plug(&node.host, &node.outside, card))
}

/// What it says, without what was counted and how fast this machine is.
fn doctor(node: &Node, more: &[&str]) -> Result<Printed> {
    let Printed { well, text } = node.run(&[&["doctor"][..], more].concat())?;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("count ") && !line.starts_with("info  large"))
        .map(|line| format!("{line}\n"));
    Ok(Printed { well, text: lines.collect() })
}

fn in_the_way() -> Result<()> {
    examine(&edge("edge50")?, IN_THE_WAY)
}

fn before_it_begins() -> Result<()> {
    let node = edge("edge51")?;
    node.teardown()?;
    examine(&node, BEFORE)
}

fn examine(node: &Node, clashes: &[Clash]) -> Result<()> {
    let sound = doctor(node, &[])?;
    let is_sound = sound.well && !sound.text.contains("FAIL") && !sound.text.contains("warn");
    ensure!(is_sound, "a sound node: {}", sound.text);
    ensure!(doctor(node, &[])?.text == sound.text, "it says something else the second time");
    for Clash { make, found, remedy, twin, undo } in clashes {
        let script = |text: &str| node.host.output("sh", &["-ec", text]).with_context(|| text.to_owned());
        script(make)?;
        let clash = doctor(node, &[])?;
        let line = clash.text.lines().find(|line| line.starts_with(found));
        let line = line.with_context(|| format!("{found}… is not found after {make}: {}", clash.text))?;
        ensure!(line.contains(remedy), "the remedy is not {remedy}: {line}");
        ensure!(clash.well != clash.text.contains("FAIL"), "the exit code does not fit: {}", clash.text);
        script(twin)?;
        let twin = doctor(node, &[])?;
        ensure!(twin.text == sound.text, "the twin of {make} is no clash: {}\nbefore: {}", twin.text, sound.text);
        script(undo)?;
        println!("{}: {line}", node.host.name);
    }
    let after = doctor(node, &[])?;
    ensure!(after.text == sound.text, "after all of it: {}", after.text);
    Ok(())
}

fn anchor() -> Result<()> {
    let mut node = Node::start("anchor50", &example_plan(ANCHOR)?)?;
    node.settle()?;
    node.kill()?;
    for card in ["eth0", "eth1"] {
        plug(&node.host, &node.outside, card)?;
        node.ip(&format!("link set {card} up"))?;
    }
    node.host.ip("route add default dev eth0 metric 1\nroute add default dev eth1 metric 2")?;
    examine(
        &node,
        &[Clash {
            make: "sysctl -q -w net.ipv4.conf.eth1.rp_filter=1",
            found: "warn  strict reverse-path filter on eth1: ",
            remedy: "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
            twin: "sysctl -q -w net.ipv4.conf.eth1.rp_filter=2 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=2",
            undo: "sysctl -q -w net.ipv4.conf.all.rp_filter=0",
        }],
    )
}

fn without_configuration() -> Result<()> {
    let node = edge("edge52")?;
    // A clash that depends on the plan, and one that does not.
    node.host.output("sysctl", &["-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.wwan0.rp_filter=0"])?;
    let without = doctor(&node, &["--config", "/etc/pathsteer/none.yaml"])?;
    let left_out = "info  what depends on the node's plan: not looked at, as there is no /etc/pathsteer/none.yaml\n";
    ensure!(without.well && without.text.contains(left_out), "{}", without.text);
    ensure!(!without.text.contains("FAIL") && !without.text.contains("reverse-path"), "{}", without.text);
    ensure!(without.text.contains("ok    nft dup\n"), "{}", without.text);
    node.ip("link add psn4 type bridge")?;
    let without = doctor(&node, &["--config", "/etc/pathsteer/none.yaml"])?;
    ensure!(!without.well && without.text.contains("FAIL  foreign interface psn4"), "{}", without.text);

    node.host.write("/etc/pathsteer/wrong.yaml", "node: [")?;
    let wrong = doctor(&node, &["--config", "/etc/pathsteer/wrong.yaml"])?;
    ensure!(!wrong.well && wrong.text.contains("FAIL  configuration: /etc/pathsteer/wrong.yaml"), "{}", wrong.text);
    Ok(())
}

fn features() -> Result<()> {
    let node = edge("edge53")?;
    let sound = doctor(&node, &[])?;
    let features = [
        "veth",
        "IPv4 policy routing",
        "IPv6 policy routing",
        "nft tables of family inet",
        "nft conntrack",
        "nft NAT",
        "nft dup",
        "nft quotas",
        "nft rate limits",
        "nft interval maps",
        "BPF programs on an interface, with maps in maps",
    ];
    for feature in features {
        ensure!(sound.text.contains(&format!("ok    {feature}\n")), "{feature}: {}", sound.text);
    }
    // Who may not change a network is refused what a kernel refuses that cannot.
    let mut weak = node.host.command("setpriv");
    let program = node.command(&[]).get_program().to_owned();
    let output =
        weak.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]).arg(program).arg("doctor").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for feature in features {
        ensure!(text.contains(&format!("FAIL  {feature}: use a kernel built with CONFIG_")), "{feature}: {text}");
    }
    ensure!(output.status.code() == Some(1), "{text}");

    // What only some plans and configurations need.
    let mut trunk = treatments::van()?;
    trunk.vlans.clear();
    declare(&mut trunk, include_str!("../manifests/trunk.yaml"))?;
    node.keep(&plan(&mut trunk, EDGE)?, 2)?;
    let stock = treatments::has_802_1q();
    let said = doctor(&node, &[])?.text;
    let tagged = if stock {
        "ok    802.1Q, for the plan's tagged segments\n"
    } else {
        "FAIL  802.1Q, for the plan's tagged segments: modprobe 8021q"
    };
    ensure!(said.contains(tagged), "{said}");
    node.host.write(CONFIG, &(node.host.read(CONFIG)? + "wireguard: kernel\n"))?;
    let said = doctor(&node, &[])?.text;
    let kernels = if stock {
        "ok    WireGuard in the kernel, as configured\n"
    } else {
        "FAIL  WireGuard in the kernel, as configured: modprobe wireguard"
    };
    ensure!(said.contains(kernels) && !sound.text.contains("WireGuard"), "{said}");
    Ok(())
}
