//! What becomes of a flow: decided by its first packet, pinned in the conntrack mark, read there by the others.

use std::collections::BTreeSet;

use ipnet::IpNet;
use pathsteer_crds::{
    mark,
    plan::{ClassMap, FlowTo, NftRule, PolicySet},
};
use serde_json::{Value, json};

use super::{
    address_set::{FAMILIES, addresses, of_family},
    class_map::{self, chain_of, mark_of, pin},
    ruleset::{ARRIVE, ORIGINATE, RAW, Rule, Ruleset},
    shim::{came_in_a_shim, is_shimmed},
    words::{
        accept, by_links, comes_by, ct, field, goto, has_any, is, is_not, jump, kind_of, mangle, masked, meta, notrack,
    },
};

/// The bit of `ct state` of a packet that conntrack was told not to track (NF_CT_STATE_UNTRACKED_BIT).
pub const UNTRACKED: u32 = 64;
/// `ct direction` of what the opener of a flow sends, and of the answers (enum ip_conntrack_dir).
const ORIGINAL: u32 = 0;
const REPLY: u32 = 1;
/// Where the GRE protocol is, in bits from the beginning of an outer header.
const GRE_PROTOCOL: (u32, u32) = (22 * 8, 16);
/// The GRE protocol of what the switching machine says to the far end.
const CONTROL: u32 = 0x88b5;

/// Chain for what comes by no segment and no uplink (at an anchor, for everything), and for what the node itself sends.
const FLOW: &str = "flow";
/// Chain for what came in a shim by an uplink.
const UPLINK: &str = "uplink";

/// Classification, where `rules` ask for any.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    let maps: Vec<&ClassMap> = rules.iter().filter_map(as_map).collect();
    let default = rules.iter().find_map(as_default);
    let segments = rules.iter().any(|rule| matches!(rule, NftRule::Segment { .. }));
    if maps.is_empty() && default.is_none() && !segments {
        // An uplink's namespace. Shimmed packets are no flows: conntrack would see one for the whole site.
        tables.rule(&RAW, vec![is(meta("l4proto"), libc::IPPROTO_GRE), notrack()]);
        return;
    }
    // no guard is for what the shim's programs let out
    tables.rule(&RAW, vec![is_shimmed(), notrack(), accept()]);
    tables.rule(&RAW, vec![came_in_a_shim(), accept()]);
    class_map::render(PolicySet::Tunnel, &maps, tables);
    let is_mixed = |rule: &NftRule| matches!(rule, NftRule::Segment { policies: Some(PolicySet::Mixed), .. });
    if rules.iter().any(is_mixed) {
        class_map::render(PolicySet::Mixed, &maps, tables);
    }
    tables.rule(&ARRIVE, vec![is_shimmed(), accept()]);
    let uplinks: BTreeSet<String> = rules.iter().filter_map(as_uplink).map(kind_of).collect();
    if !uplinks.is_empty() {
        tables.chain(UPLINK, from_uplink());
        tables.rule(&ARRIVE, vec![came_in_a_shim(), goto(UPLINK)]);
    }
    tables.chain(FLOW, in_general(default));
    let inside: Vec<IpNet> = rules.iter().filter_map(as_inside).flatten().copied().collect();
    let mut places = Vec::new();
    for rule in rules {
        if let NftRule::Segment { link, policies, default, .. } = rule {
            let chain = format!("segment-{link}");
            tables.chain(&chain, from_segment(*policies, *default, &inside));
            places.push((vec![link.as_str()], goto(&chain)));
        }
    }
    tables.rules(&ARRIVE, by_links(&["iifname"], places));
    for uplinks in uplinks {
        tables.rule(&ARRIVE, vec![comes_by(&uplinks), accept()]);
    }
    tables.rule(&ARRIVE, vec![goto(FLOW)]);
    originate(tables);
}

fn as_map(rule: &NftRule) -> Option<&ClassMap> {
    if let NftRule::ClassMap(map) = rule { Some(map) } else { None }
}

fn as_default(rule: &NftRule) -> Option<u8> {
    if let NftRule::DefaultClass { class } = rule { Some(*class) } else { None }
}

fn as_uplink(rule: &NftRule) -> Option<&str> {
    if let NftRule::Direct { link, .. } = rule { Some(link) } else { None }
}

fn as_inside(rule: &NftRule) -> Option<&Vec<IpNet>> {
    if let NftRule::Inside { prefixes } = rule { Some(prefixes) } else { None }
}

fn class_of_packet() -> Value {
    masked(meta("mark"), mark::CLASS_MASK)
}

fn class_of_flow() -> Value {
    masked(ct("mark"), mark::CLASS_MASK)
}

/// A flow that has a class keeps it, in both directions.
fn has_class() -> Rule {
    vec![is_not(class_of_flow(), 0), mangle(meta("mark"), class_of_flow()), accept()]
}

/// Only its opener's packets are led straight out; its answers find their way by the main table.
fn is_direct() -> Rule {
    vec![
        is(ct("direction"), ORIGINAL),
        is(masked(ct("mark"), mark::TAG_MASK), mark::DIRECT),
        mangle(meta("mark"), masked(ct("mark"), mark::TAG_MASK | mark::SLOT_MASK)),
        accept(),
    ]
}

fn from_segment(policies: Option<PolicySet>, default: FlowTo, inside: &[IpNet]) -> Vec<Rule> {
    let mut rules = vec![has_class(), is_direct(), vec![is(ct("direction"), REPLY), accept()]];
    if policies == Some(PolicySet::Mixed) || default == FlowTo::Direct {
        for family in FAMILIES {
            let own = addresses(of_family(family, inside));
            rules.extend(own.map(|own| vec![is(field(family, "daddr"), own), accept()]));
        }
    }
    rules.extend(policies.map(|set| vec![jump(chain_of(set))]));
    rules.push(pin(mark_of(default)));
    rules
}

/// What came in a shim brings its class to flows that the far end opens. What came without (the answers of direct flows)
/// keeps a mark without, whatever its flow's: that is how forwarding tells them apart.
fn from_uplink() -> Vec<Rule> {
    let nothing_pinned = is(masked(ct("mark"), mark::CLASS_MASK | mark::TAG_MASK), 0);
    vec![vec![nothing_pinned, mangle(ct("mark"), class_of_packet())]]
}

fn in_general(default: Option<u8>) -> Vec<Rule> {
    let mut rules = vec![
        has_class(),
        // at an anchor: from the shim it came in
        vec![came_in_a_shim(), mangle(ct("mark"), class_of_packet()), accept()],
        vec![is(ct("direction"), REPLY), accept()],
        vec![jump(chain_of(PolicySet::Tunnel))],
    ];
    rules.extend(default.map(|class| pin(mark::class(class))));
    rules
}

/// A local process with a mark of ours would choose a path around the shim. What does have one: copies, which nobody
/// tracks, what the switching machine says, and what the kernel tells routers about multicast (RFC 3376, 3810): there the
/// mark shares its place with another number (`reserved_tailroom` of struct sk_buff).
fn originate(tables: &mut Ruleset) {
    let is_gre = || is(meta("l4proto"), libc::IPPROTO_GRE);
    let (offset, length) = GRE_PROTOCOL;
    let gre_protocol = json!({"payload": {"base": "nh", "offset": offset, "len": length}});
    // nfproto by number: AF_INET
    let said = vec![is(meta("nfproto"), libc::AF_INET), is_gre(), is(gre_protocol, CONTROL), accept()];
    let forged = tables.dropped(vec![is_not(masked(meta("mark"), mark::MASK), 0)], "forgedMark");
    let copied = vec![is_gre(), has_any(ct("state"), UNTRACKED), accept()];
    let reports = vec![is(meta("l4proto"), libc::IPPROTO_IGMP), accept()];
    let reports_v6 = vec![is(meta("l4proto"), libc::IPPROTO_ICMPV6), has_any(ct("state"), UNTRACKED), accept()];
    for rule in [copied, said, reports, reports_v6, forged, vec![goto(FLOW)]] {
        tables.rule(&ORIGINATE, rule);
    }
}
