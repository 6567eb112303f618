//! What the kernel can do, tried: in a namespace that nobody else sees and that is gone with its last user.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use pathsteer_crds::plan::LinkKind;
use pathsteer_wireguard::probe_kernel;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAttribute, RuleMessage},
};

use super::{Finding, Known};
use crate::{
    config::WireguardChoice,
    drivers::link_message::{new_veth, new_vlan},
    sys::{
        KernelError,
        netlink::{Netlink, Put},
        netns::Netns,
    },
};

/// What our nft tables are made of: the kernel's option, and a ruleset that needs it.
const NFT: [(&str, &str, &str); 7] = [
    (
        "nft tables of family inet",
        "NF_TABLES_INET",
        "table inet probe { chain c { type filter hook forward priority 0; }; }",
    ),
    (
        "nft conntrack",
        "NFT_CT",
        "table inet probe { chain c { type filter hook forward priority 0; ct mark set meta mark; }; }",
    ),
    ("nft NAT", "NFT_MASQ", "table inet probe { chain c { type nat hook postrouting priority 100; masquerade; }; }"),
    (
        "nft dup",
        "NFT_DUP_IPV4",
        "table ip probe { chain c { type filter hook postrouting priority 300; dup to 192.0.2.1; }; }",
    ),
    ("nft quotas", "NFT_QUOTA", "table ip probe { quota q { over 1 mbytes }; chain c { quota name \"q\"; }; }"),
    ("nft rate limits", "NFT_LIMIT", "table inet probe { chain c { limit rate 1 mbytes/second; }; }"),
    (
        "nft interval maps",
        "NF_TABLES",
        "table inet probe { map m { type ipv4_addr . inet_service : mark; flags interval; \
         elements = { 192.0.2.0/24 . 1-2 : 1 }; }; }",
    ),
];

/// Of our range of tables: not one of those that are told apart by a byte.
const TABLE: u32 = 7_700;

/// What every node needs of its kernel.
pub async fn examine() -> Vec<Finding> {
    let (netns, netlink) = match scratch() {
        Ok(scratch) => scratch,
        Err(error) => {
            let remedy = format!("use a kernel built with CONFIG_NET_NS=y, and run this as root: {error}");
            return vec![Finding::failure("network namespaces", remedy)];
        }
    };
    let mut findings = vec![Finding::well("network namespaces")];
    let tried = |what: &str, option: &str, tried: Result<(), String>| match tried {
        Ok(()) => Finding::well(what),
        Err(error) => {
            Finding::failure(what, format!("use a kernel built with CONFIG_{option}, or load its module: {error}"))
        }
    };
    let said = |error: KernelError| error.to_string();
    let veth =
        netlink.put("link add type veth", RouteNetlinkMessage::NewLink(new_veth("a", "b", netns.fd())), Put::New);
    findings.push(tried("veth", "VETH", veth.await.map_err(said)));
    for (family, what, option) in [
        (AddressFamily::Inet, "IPv4 policy routing", "IP_MULTIPLE_TABLES"),
        (AddressFamily::Inet6, "IPv6 policy routing", "IPV6_MULTIPLE_TABLES"),
    ] {
        findings.push(tried(what, option, policy(&netlink, family).await.map_err(said)));
    }
    for (what, option, ruleset) in NFT {
        findings.push(tried(what, option, load(&netns, ruleset).map_err(|error| error.to_string())));
    }
    let programs = pathsteer_bpf::selftest::loads();
    findings.push(tried(
        "BPF programs on an interface, with maps in maps",
        "BPF_SYSCALL, CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS",
        programs.map_err(|error| error.to_string()),
    ));
    findings
}

/// What this plan needs besides.
pub async fn planned(known: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    if known.plan.objects.links.iter().any(|link| matches!(link.kind, LinkKind::Vlan { .. })) {
        let what = "802.1Q, for the plan's tagged segments";
        findings.push(match tagged().await {
            Ok(()) => Finding::well(what),
            Err(error) => {
                Finding::failure(what, format!("modprobe 8021q, or use a kernel built with CONFIG_VLAN_8021Q: {error}"))
            }
        });
    }
    if known.config.wireguard == WireguardChoice::Kernel {
        let what = "WireGuard in the kernel, as configured";
        findings.push(match probe_kernel() {
            Ok(()) => Finding::well(what),
            Err(error) => {
                Finding::failure(what, format!("modprobe wireguard, or configure `wireguard: auto`: {error}"))
            }
        });
    }
    findings
}

fn scratch() -> io::Result<(Netns, Netlink)> {
    let thread = std::thread::spawn(|| -> io::Result<Netns> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Netns::current()
    });
    let netns = thread.join().map_err(|_| io::Error::other("the thread that makes a namespace panicked"))??;
    let netlink = Netlink::open(&netns)?;
    Ok((netns, netlink))
}

async fn tagged() -> Result<(), String> {
    let (netns, netlink) = scratch().map_err(|error| error.to_string())?;
    let pair = async {
        netlink
            .put("link add type veth", RouteNetlinkMessage::NewLink(new_veth("a", "b", netns.fd())), Put::New)
            .await?;
        let parent = netlink.ifindex("a").await?;
        netlink.put("link add type vlan", RouteNetlinkMessage::NewLink(new_vlan("c", parent, 77)), Put::New).await
    };
    pair.await.map_err(|error: KernelError| error.to_string())
}

async fn policy(netlink: &Netlink, family: AddressFamily) -> Result<(), KernelError> {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = rtnetlink::packet_route::rule::RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(TABLE),
        RuleAttribute::FwMark(1),
        RuleAttribute::FwMask(1),
        RuleAttribute::Table(TABLE),
    ];
    netlink.put("rule add", RouteNetlinkMessage::NewRule(rule), Put::New).await?;
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.kind = RouteType::BlackHole;
    route.attributes = vec![RouteAttribute::Table(TABLE)];
    netlink.put("route add", RouteNetlinkMessage::NewRoute(route), Put::New).await
}

fn load(netns: &Netns, ruleset: &'static str) -> io::Result<()> {
    netns.run(move || {
        let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            for family in ["inet", "ip"] {
                writeln!(stdin, "add table {family} probe; delete table {family} probe")?;
            }
            writeln!(stdin, "{ruleset}")?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default().to_owned();
        if output.status.success() { Ok(()) } else { Err(io::Error::other(first)) }
    })
}
