//! Segments, borders, flows straight to the internet, policies and MTUs.

use pathsteer_crds::PortRange;
use pathsteer_crds::plan::{ClassElement, Family, FlowTo, NftRule, PolicySet};

use super::plant::{
    barred, block, default_of, direct, drop_nft, first_element, first_map, forward, is_blackhole, link, net, policies,
    redirects, sources, unprotect,
};
use super::{ANCHOR, EDGE, Fault};

pub const FAULTS: &[Fault] = &[
    // What belongs in a tunnel and what does not.
    ("guests whose flows look for a class", EDGE, |p| policies(p, "lan2", Some(PolicySet::Tunnel)), "EntersTunnel"),
    ("guests whose flows get a class", EDGE, |p| default_of(p, "lan2", FlowTo::Class(1)), "EntersTunnel"),
    ("guests forwarded into the shim", EDGE, |p| forward(p, "psvip", "lan2", "ps0"), "EntersTunnel"),
    (
        "guests whom only a mark keeps from the shim",
        EDGE,
        |p| p.rules.retain(|r| r.priority != 7_991 || r.family == Family::Ipv4),
        "EntersTunnel",
    ),
    ("a crew whose flows go direct", EDGE, |p| default_of(p, "lan0", FlowTo::Direct), "LeavesInClear"),
    ("a crew forwarded to an uplink", EDGE, |p| forward(p, "psvip", "lan0", "psu1"), "LeavesInClear"),
    ("a policy that sends the crew's flows direct", EDGE, |p| first_element(p).to = FlowTo::Direct, "LeavesInClear"),
    ("what comes by a tunnel forwarded to the WAN", EDGE, |p| forward(p, "psup1", "psw1a1", "wan1"), "LeavesInClear"),
    ("the internet forwarded into a tunnel", ANCHOR, |p| forward(p, "psan", "inet0", "psw1"), "LeavesInClear"),
    (
        "a veth that lets by what is neither shimmed nor direct",
        EDGE,
        |p| drop_nft(p, "psvip", |rule| matches!(rule, NftRule::Direct { slot: 2, .. })),
        "LeakNotGuarded",
    ),
    // Segments.
    (
        "a segment nobody looks at",
        EDGE,
        |p| drop_nft(p, "psvip", |rule| matches!(rule, NftRule::Segment { link, .. } if link == "lan0")),
        "SegmentNotGuarded",
    ),
    ("a segment that may send as another", EDGE, |p| sources(p, "lan1").push(net("172.16.7.0/24")), "SourceTooWide"),
    ("a segment that may not send as itself", EDGE, |p| sources(p, "lan1").truncate(1), "SourceRefused"),
    (
        "guests who may send to a site's prefix",
        EDGE,
        |p| barred(p, "lan2").retain(|b| !b.addr().is_ipv6()),
        "GuestNotKept",
    ),
    (
        "guests who may send to the overlay",
        EDGE,
        |p| barred(p, "lan2").retain(|b| *b != net("10.0.0.0/8")),
        "GuestNotKept",
    ),
    ("guests whom the node welcomes", EDGE, |p| unprotect(p, "psvip", "lan2"), "GuestNotKept"),
    ("guests led to the node's own services", EDGE, |p| redirects(p).0.push("lan2".into()), "GuestNotKept"),
    (
        "services that are looked for elsewhere",
        EDGE,
        |p| redirects(p).1.push("192.0.2.1".parse().unwrap()),
        "PathBroken",
    ),
    ("guests who are barred from nothing", EDGE, |p| barred(p, "lan2").clear(), "GuestNotKept"),
    // Borders.
    (
        "a namespace that forwards everything",
        EDGE,
        |p| drop_nft(p, "psup2", |rule| matches!(rule, NftRule::Forward { .. })),
        "ForwardOpen",
    ),
    (
        "an anchor that forwards everything",
        ANCHOR,
        |p| drop_nft(p, "psan", |rule| matches!(rule, NftRule::Forward { .. })),
        "ForwardOpen",
    ),
    ("a slot nothing is sent by", EDGE, |p| block(p, "psvip", "ps1", "psu2"), "NotForwarded"),
    ("a segment nothing comes back to", EDGE, |p| block(p, "psvip", "psu3", "lan0"), "NotForwarded"),
    ("a tunnel nothing comes in by", EDGE, |p| block(p, "psup1", "psw1a1", "psv"), "NotForwarded"),
    ("direct flows that do not leave", EDGE, |p| block(p, "psup1", "psv", "wan1"), "NotForwarded"),
    ("an anchor the internet does not answer", ANCHOR, |p| block(p, "psan", "inet0", "ps0"), "NotForwarded"),
    ("sites that do not reach each other", ANCHOR, |p| block(p, "psan", "psw3", "ps0"), "NotForwarded"),
    ("a WAN whose neighbours are let in", EDGE, |p| forward(p, "psup1", "wan1", "psv"), "WanLetIn"),
    ("a WAN whose neighbours are let into a tunnel", EDGE, |p| forward(p, "psup1", "wan1", "psw1a1"), "WanLetIn"),
    ("an uplink that opens flows to a segment", EDGE, |p| forward(p, "psvip", "psu1", "lan1"), "WanLetIn"),
    ("an uplink that reaches the node", EDGE, |p| unprotect(p, "psvip", "psu1"), "NotProtected"),
    ("a tunnel that reaches the uplink's namespace", EDGE, |p| unprotect(p, "psup2", "psw2a1"), "NotProtected"),
    ("segments that reach the uplink's namespace", EDGE, |p| unprotect(p, "psup2", "psv"), "NotProtected"),
    ("an internet that reaches the anchor", ANCHOR, |p| unprotect(p, "psan", "inet0"), "NotProtected"),
    // Straight to the internet.
    ("a direct way that is always there", EDGE, |p| direct(p, 7_990).while_default_in = None, "DirectUnconditional"),
    (
        "a direct way that asks for another uplink",
        EDGE,
        |p| direct(p, 7_701).while_default_in = Some("psup2".into()),
        "DirectUnconditional",
    ),
    ("a pinned flow that leaves by another uplink", EDGE, |p| direct(p, 7_701).table = 7_702, "PathBroken"),
    (
        "direct ways that go on to the shim",
        EDGE,
        |p| p.routes.retain(|r| !is_blackhole(r, "psvip", 7_990) || r.destination != net("::/0")),
        "PathOpen",
    ),
    ("direct flows that nothing leads", EDGE, |p| p.rules.retain(|r| r.priority != 7_990), "DirectNotLed"),
    (
        "pinned flows that nothing leads",
        EDGE,
        |p| p.rules.retain(|r| r.priority != 7_702 || r.family == Family::Ipv4),
        "DirectNotLed",
    ),
    (
        "an uplink that does not translate",
        EDGE,
        |p| drop_nft(p, "psup3", |rule| matches!(rule, NftRule::Masquerade { .. })),
        "NotTranslated",
    ),
    (
        "answers that find no way back",
        EDGE,
        |p| p.routes.retain(|r| r.netns != "psup1" || r.destination != net("fd77::/64")),
        "NotRouted",
    ),
    (
        "flows to the site itself that leave for the internet",
        EDGE,
        |p| drop_nft(p, "psvip", |rule| matches!(rule, NftRule::Inside { .. })),
        "InsideNotKnown",
    ),
    // Policies.
    (
        "elements that overlap",
        EDGE,
        |p| first_element(p).ports = Some(PortRange { first: 1, last: 10_000 }),
        "PolicyUnclear",
    ),
    (
        "elements of different fields that overlap",
        EDGE,
        |p| {
            let map = first_map(p);
            map.elements.push(ClassElement { ports: None, protocol: None, ..map.elements[0] });
        },
        "PolicyUnclear",
    ),
    ("an element with a DSCP of no family", EDGE, |p| first_element(p).dscp = Some(46), "PolicyUnclear"),
    ("a map that is never tried", EDGE, |p| first_map(p).order = 2, "PolicyUnclear"),
    ("a class nobody has sequences for", EDGE, |p| first_element(p).to = FlowTo::Class(9), "NothingThere"),
    (
        "a node whose own packets get no class",
        ANCHOR,
        |p| drop_nft(p, "psan", |rule| matches!(rule, NftRule::DefaultClass { .. })),
        "PolicyUnclear",
    ),
    // MTUs.
    ("a second end of the shim that cuts off", EDGE, |p| link(p, "ps1").mtu = Some(1_387), "TooBig"),
    ("a veth that cuts off", EDGE, |p| link(p, "psu3").mtu = Some(1_419), "TooBig"),
    ("an anchor's tunnel that cuts off", ANCHOR, |p| link(p, "psw2").mtu = Some(1_419), "TooBig"),
];
