//! Paths, tunnels, the shim, names and numbers.

use pathsteer_crds::plan::{Behind, LinkKind, NftRule, Role, RuleAction};

use super::plant::{address, blackhole, by, copy_links, drop_nft, is_blackhole, link, net, rule};
use super::{ANCHOR, EDGE, Fault, OVERLAY};

pub const FAULTS: &[Fault] = &[
    // Survivable traffic leaves by a tunnel or not at all.
    (
        "a default route by a segment's card",
        EDGE,
        |p| p.routes.push(by("psvip", 254, "0.0.0.0/0", "lan0")),
        "LeavesInClear",
    ),
    (
        "an overlay route by a WAN card",
        EDGE,
        |p| p.routes.push(by("psup1", 254, "10.100.0.1/32", "wan1")),
        "LeavesInClear",
    ),
    (
        "a path table that leads to a WAN card",
        ANCHOR,
        |p| p.routes.push(by("psan", 7701, "0.0.0.0/0", "inet0")),
        "LeavesInClear",
    ),
    (
        "an overlay route to the internet",
        ANCHOR,
        |p| p.routes.push(by("psan", 254, "10.100.0.2/32", "inet0")),
        "LeavesInClear",
    ),
    (
        "a default route by one tunnel's veth, around the shim",
        EDGE,
        |p| p.routes.push(by("psvip", 254, "8.8.8.8/32", "psu1")),
        "LeavesInClear",
    ),
    (
        "a socket where packets are in clear",
        EDGE,
        |p| p.wireguard_devices[0].underlay_netns = "psvip".into(),
        "LeavesInClear",
    ),
    (
        "an uplink's namespace without its blackhole",
        EDGE,
        |p| p.routes.retain(|r| !is_blackhole(r, "psup2", 254)),
        "OverlayNotBlackholed",
    ),
    (
        "an anchor without its blackhole",
        ANCHOR,
        |p| p.routes.retain(|r| !is_blackhole(r, "psan", 254)),
        "OverlayNotBlackholed",
    ),
    (
        "a blackhole for half of the overlay",
        EDGE,
        |p| blackhole(p, "psvip").destination = "10.100.0.0/17".parse().unwrap(),
        "OverlayNotBlackholed",
    ),
    (
        "a WAN card that lets overlay packets by",
        EDGE,
        |p| drop_nft(p, "psup3", |rule| matches!(rule, NftRule::DropOverlay { .. })),
        "WanNotGuarded",
    ),
    (
        "an internet card that lets overlay packets by",
        ANCHOR,
        |p| drop_nft(p, "psan", |rule| matches!(rule, NftRule::DropOverlay { .. })),
        "WanNotGuarded",
    ),
    ("no default route into the shim", EDGE, |p| p.routes.retain(|r| r.destination != net("::/0")), "NotShimmed"),
    (
        "a site's prefix that is routed elsewhere",
        ANCHOR,
        |p| p.routes.retain(|r| r.destination != net("172.16.7.0/24")),
        "NotShimmed",
    ),
    // Every path is whole.
    ("a path table without its blackhole", EDGE, |p| p.routes.retain(|r| !is_blackhole(r, "psvip", 7718)), "PathOpen"),
    (
        "an anchor's path table without its blackhole",
        ANCHOR,
        |p| p.routes.retain(|r| !is_blackhole(r, "psan", 7702)),
        "PathOpen",
    ),
    (
        "a blackhole that comes before the backup",
        EDGE,
        |p| p.routes.iter_mut().filter(|r| is_blackhole(r, "psvip", 7717)).for_each(|r| r.metric = 50),
        "PathOpen",
    ),
    (
        "a path without backup",
        EDGE,
        |p| p.routes.retain(|r| r.table != 7719 || r.metric < 100 || r.metric == 1_000),
        "NoBackup",
    ),
    (
        "a path to a site without backup",
        ANCHOR,
        |p| p.routes.retain(|r| r.table != 7701 || r.metric < 100 || r.metric == 1_000),
        "NoBackup",
    ),
    ("a path by another slot's link", EDGE, |p| p.routes.retain(|r| r.table != 7717 || r.metric != 10), "PathBroken"),
    (
        "a rule that leads to another path's table",
        EDGE,
        |p| rule(p, 7_717).action = RuleAction::Table(7718),
        "PathBroken",
    ),
    ("a path table without a rule", EDGE, |p| p.rules.retain(|r| r.priority != 7_717), "PathUnclear"),
    ("a rule that matches the copy set", EDGE, |p| rule(p, 7_717).fwmark = Some((0x101, 0xfff)), "PathUnclear"),
    (
        "no rule for what leaves the shim without a path",
        EDGE,
        |p| p.rules.retain(|r| r.iif.is_none()),
        "NoPathNotStopped",
    ),
    (
        "a rule for what leaves the shim that comes first",
        ANCHOR,
        |p| rule(p, 7_999).priority = 7_700,
        "NoPathNotStopped",
    ),
    ("copies that leave by the wrong link", EDGE, |p| copy_links(p, "psu1"), "CopyBroken"),
    (
        "a slot that is never copied to",
        ANCHOR,
        |p| drop_nft(p, "psan", |rule| matches!(rule, NftRule::Copy { slot: 2, .. })),
        "CopyBroken",
    ),
    ("a copy to a neighbour nobody knows", EDGE, |p| p.neighbours.retain(|n| n.link != "psu2"), "CopyBroken"),
    ("steering towards a slot that is not there", EDGE, |p| p.steering[0].slots.push(7), "NothingThere"),
    ("an anchor that is told no path of a class", EDGE, |p| drop(p.steering.pop()), "NotSteered"),
    // WireGuard would refuse it or mix it up.
    (
        "the same allowed IP for two peers",
        ANCHOR,
        |p| {
            let mut twin = p.wireguard_peers[0].clone();
            twin.public_key = "other".into();
            p.wireguard_peers.push(twin)
        },
        "AllowedTwice",
    ),
    (
        "a peer that may send from anywhere",
        ANCHOR,
        |p| p.wireguard_peers[0].allowed_ips.push("0.0.0.0/0".parse().unwrap()),
        "SourceTooWide",
    ),
    (
        "a peer whose shimmed packets are refused",
        EDGE,
        |p| p.wireguard_peers[1].allowed_ips.truncate(0),
        "SourceRefused",
    ),
    (
        "a peer nothing is routed to",
        EDGE,
        |p| p.routes.retain(|r| !(r.netns == "psup2" && r.destination == net("10.100.0.1/32"))),
        "NotRouted",
    ),
    (
        "an uplink with no way in",
        EDGE,
        |p| p.routes.retain(|r| !(r.netns == "psup2" && r.destination == net("10.100.0.2/32"))),
        "NotRouted",
    ),
    ("an edge that does not know where its anchor is", EDGE, |p| p.wireguard_peers[0].endpoint = None, "NoEndpoint"),
    (
        "two sockets on one port",
        ANCHOR,
        |p| p.wireguard_devices[1].listen_port = p.wireguard_devices[0].listen_port,
        "PortTaken",
    ),
    ("a TUN nobody attaches to", ANCHOR, |p| drop(p.wireguard_devices.remove(2)), "NotATunnel"),
    ("a device that is no TUN", EDGE, |p| p.wireguard_devices[0].link = "wan1".into(), "NotATunnel"),
    ("a tunnel too small for what the shim lets in", EDGE, |p| link(p, "psw1a1").mtu = Some(1_419), "TooBig"),
    ("a shim too small for the IPv6 on it", EDGE, |p| link(p, "ps0").mtu = Some(1_279), "NoIpv6"),
    ("a shim that lets in anything", ANCHOR, |p| link(p, "ps0").mtu = None, "TooBig"),
    // The shim.
    (
        "a shim endpoint on an interface",
        EDGE,
        |p| p.addresses.push(address("psvip", "lo", "10.100.0.2/32")),
        "EndpointAssigned",
    ),
    (
        "the other end's shim endpoint on an interface",
        ANCHOR,
        |p| p.addresses.push(address("psan", "psw1", "10.100.0.2/32")),
        "EndpointAssigned",
    ),
    ("nothing that adds the shim", EDGE, |p| p.programs.retain(|one| one.link != "ps1"), "NoProgram"),
    ("nothing that takes it off", ANCHOR, |p| p.programs.retain(|one| one.link != "psw2"), "NoProgram"),
    ("segments that share a sequence number", EDGE, |p| link(p, "ps0").gso_max_segs = None, "SegmentsShareSequence"),
    ("no shim", EDGE, |p| p.datapath.clear(), "NoShim"),
    ("the shim of the other role", ANCHOR, |p| p.datapath[0].role = Role::Edge, "NoShim"),
    ("a shim endpoint outside the overlay", EDGE, |p| p.datapath[0].address = "10.101.0.2".parse().unwrap(), "NoShim"),
    (
        "overlay addresses inside the shim",
        EDGE,
        |p| {
            p.prefixes
                .iter_mut()
                .filter(|one| one.prefix == net(OVERLAY))
                .for_each(|one| one.behind = Behind::Remote(1))
        },
        "OverlayInside",
    ),
    (
        "a prefix behind nobody known",
        ANCHOR,
        |p| {
            p.prefixes
                .iter_mut()
                .filter(|one| matches!(one.behind, Behind::Remote(_)))
                .for_each(|one| one.behind = Behind::Remote(9))
        },
        "NothingThere",
    ),
    // Names and numbers.
    ("a namespace that does not forward", EDGE, |p| p.sysctls.retain(|one| one.value != "1"), "NamespaceNotReady"),
    ("a name of sixteen characters", EDGE, |p| link(p, "lan0").name = "lan0123456789abc".into(), "NameTooLong"),
    ("an interface of ours without our prefix", EDGE, |p| link(p, "psw1a1").name = "wg1".into(), "NotOurs"),
    ("a namespace without our prefix", ANCHOR, |p| p.netns[0].name = "anchor".into(), "NotOurs"),
    ("a card that looks like ours", EDGE, |p| link(p, "wan1").name = "ps-wan".into(), "NotTheirs"),
    (
        "a veth that leads elsewhere",
        EDGE,
        |p| link(p, "psu1").kind = LinkKind::Veth { peer_netns: "psup2".into(), peer: "psv".into() },
        "PairBroken",
    ),
    ("a card in two namespaces", EDGE, |p| link(p, "wan1").name = "wan2".into(), "GivenTwice"),
    ("a rule of a foreign priority", EDGE, |p| p.rules[0].priority = 32_000, "NumberNotOurs"),
    (
        "a route in a foreign table",
        ANCHOR,
        |p| p.routes.iter_mut().filter(|r| r.table == 7701).for_each(|r| r.table = 100),
        "NumberNotOurs",
    ),
    (
        "a rule that matches somebody else's mark",
        EDGE,
        |p| p.rules[0].fwmark = Some((0x0100_0000, 0x0f00_0000)),
        "NumberNotOurs",
    ),
    (
        "two routes of one metric",
        EDGE,
        |p| p.routes.iter_mut().filter(|r| r.table == 7717 && r.metric == 103).for_each(|r| r.metric = 102),
        "GivenTwice",
    ),
    ("a source nobody has", EDGE, |p| p.addresses.retain(|own| own.link != "lo"), "NothingThere"),
];
