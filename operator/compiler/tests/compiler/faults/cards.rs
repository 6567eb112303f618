//! The node's own network, and cards that are found by something else than their name. The truck has one in place.

use pathsteer_crds::plan::{LinkKind, LinkSpec, NftRule, PlanObjects};

use super::Fault;
use super::plant::{by, drop_nft, is_blackhole, link, rule};

const TRUCK: &str = "truck";

/// Slot 4 is the uplink whose card stays in place.
const ITS_TABLE: u32 = 7_704;

fn of_home(plan: &mut PlanObjects) -> &mut Vec<NftRule> {
    &mut plan.nft_tables.iter_mut().find(|table| table.netns.is_empty()).unwrap().rules
}

pub const FAULTS: &[Fault] = &[
    ("a card of the node's own", TRUCK, |p| p.links.push(LinkSpec::new("", "eth0", LinkKind::Nic)), "NotOurs"),
    ("a default route of the node's own", TRUCK, |p| p.routes.push(by("", 254, "0.0.0.0/0", "wwan0")), "NotOurs"),
    ("a default route in its main table", TRUCK, |p| p.routes.push(by("", 254, "0.0.0.0/0", "psh0")), "NotOurs"),
    ("a rule for whatever the node sends", TRUCK, |p| rule(p, ITS_TABLE).iif = None, "NotOurs"),
    (
        "a card of the node's own whose packets are changed",
        TRUCK,
        |p| of_home(p).push(NftRule::ClampMss { link: "wwan0".into() }),
        "NotOurs",
    ),
    (
        "a card of the node's own that is closed",
        TRUCK,
        |p| of_home(p).push(NftRule::Protect { link: "wwan0".into(), welcome: vec![] }),
        "NotOurs",
    ),
    ("an uplink in place that nothing leads", TRUCK, |p| p.rules.retain(|rule| !rule.netns.is_empty()), "PathUnclear"),
    (
        "an uplink in place that goes on to the node's own way",
        TRUCK,
        |p| p.routes.retain(|route| !is_blackhole(route, "", ITS_TABLE)),
        "PathOpen",
    ),
    (
        "an uplink in place that leaves by another card",
        TRUCK,
        |p| p.routes.push(by("", ITS_TABLE, "0.0.0.0/0", "eth0")),
        "PathBroken",
    ),
    (
        "an uplink in place that does not translate",
        TRUCK,
        |p| of_home(p).retain(|rule| !matches!(rule, NftRule::Masquerade { .. })),
        "NotTranslated",
    ),
    (
        "an uplink in place that reaches the node",
        TRUCK,
        |p| of_home(p).retain(|rule| !matches!(rule, NftRule::Protect { .. })),
        "NotProtected",
    ),
    (
        "an uplink in place that has a way when its card has none",
        TRUCK,
        |p| p.routes.iter_mut().for_each(|route| route.while_host_default = None),
        "DirectUnconditional",
    ),
    ("a card by another name than its uplink's", TRUCK, |p| link(p, "psn1").name = "wan1".into(), "NothingThere"),
    ("a card of ours that nobody knows how to find", TRUCK, |p| link(p, "psn1").card = None, "NotTheirs"),
    (
        "an uplink in place that lets overlay packets by",
        TRUCK,
        |p| drop_nft(p, "psup4", |rule| matches!(rule, NftRule::DropOverlay { .. })),
        "WanNotGuarded",
    ),
];
