//! What may not pass whatever becomes of it: forged sources, barred destinations, the overlay on a WAN, and what would
//! leave a site in clear.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::{mark, plan::NftRule};
use serde_json::{Value, json};

use super::{
    address_set::{self, FAMILIES, addresses, of_family},
    ruleset::{Base, LEAVE, RAW, Rule, Ruleset},
    words::{accept, by_links, ct, field, goto, is, is_not, kind_of, leaves_by, mangle, masked, meta, one_of},
};

/// Sources beside a segment's own that no router forwards: of who has no address yet, and IPv6 link-local ones.
const NOT_FORWARDED: [&str; 3] = ["0.0.0.0/32", "::/128", "fe80::/10"];
/// ICMPv6 types of neighbour discovery (RFC 4861).
const NEIGHBOUR_DISCOVERY: [u8; 5] = [133, 134, 135, 136, 137];

/// ICMPv6 type of a multicast listener report (RFC 3810).
const MULTICAST_REPORT: u8 = 143;

/// Everything in `rules` that drops by address or by the lack of a mark.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    let mut outside: BTreeMap<&str, [Vec<Rule>; 2]> = BTreeMap::new();
    let (mut arriving, mut uplinks) = (BTreeMap::new(), BTreeMap::new());
    for rule in rules {
        match rule {
            NftRule::Segment { link, sources, barred, .. } => {
                arriving.insert(link.as_str(), segment(sources, barred, tables));
            }
            NftRule::Direct { slot, link } => {
                uplinks.insert(*slot, link.as_str());
            }
            NftRule::DropOverlay { link, overlay } => {
                for side in outside.entry(link).or_default() {
                    side.extend(of_overlay(*overlay, tables));
                }
            }
            NftRule::DropSources { link, sources } => {
                let [arriving, _] = outside.entry(link).or_default();
                for family in FAMILIES {
                    let those = addresses(of_family(family, sources));
                    let drop = |those| tables.dropped(vec![is(field(family, "saddr"), those)], "spoofed");
                    arriving.extend(those.map(drop));
                }
            }
            _ => {}
        }
    }
    let mut leaving = BTreeMap::new();
    for (link, [from_outside, to_outside]) in outside {
        arriving.entry(link).or_default().extend(from_outside);
        leaving.insert(link, to_outside);
    }
    by_their_links(&RAW, "iifname", "guard", arriving, tables);
    by_their_links(&LEAVE, "oifname", "leave", leaving, tables);
    if !uplinks.is_empty() {
        in_clear(&uplinks, tables);
    }
}

/// A chain for each link, called after it and `name`, and the way there.
fn by_their_links(base: &Base, key: &str, name: &str, links: BTreeMap<&str, Vec<Rule>>, tables: &mut Ruleset) {
    let mut places = Vec::new();
    for (link, rules) in links {
        if rules.is_empty() {
            continue;
        }
        let chain = format!("{name}-{link}");
        tables.chain(&chain, rules);
        places.push((vec![link], goto(&chain)));
    }
    tables.rules(base, by_links(&[key], places));
}

fn of_overlay(overlay: Ipv4Net, tables: &mut Ruleset) -> [Rule; 3] {
    let overlay = || address_set::masked(IpNet::V4(overlay));
    let ours = [
        is(field("ip", "saddr"), overlay()),
        is(field("ip", "daddr"), overlay()),
        is(meta("l4proto"), libc::IPPROTO_GRE),
    ];
    ours.map(|what| tables.dropped(vec![what], "overlay"))
}

/// Before conntrack, so that a forged packet does not touch another one's flow.
fn segment(sources: &[IpNet], barred: &[IpNet], tables: &mut Ruleset) -> Vec<Rule> {
    let not_forwarded = NOT_FORWARDED.map(|net| net.parse().expect("a literal"));
    let allowed = [sources, &not_forwarded].concat();
    let mut rules = Vec::new();
    if barred.is_empty() {
        // nearly every packet: its own network is compared, and the sets below are not looked into
        for family in FAMILIES {
            let own = addresses(of_family(family, sources));
            rules.extend(own.map(|own| vec![is(field(family, "saddr"), own), accept()]));
        }
    }
    for family in FAMILIES {
        let own = addresses(of_family(family, &allowed));
        rules.extend(own.map(|own| tables.dropped(vec![is_not(field(family, "saddr"), own)], "spoofed")));
    }
    if !barred.is_empty() {
        // Barred networks may hold the segment's own, where neighbours find each other.
        let here = addresses(of_family("ip6", &allowed));
        rules.extend(here.map(|here| {
            let to_neighbours = is(field("ip6", "daddr"), here);
            vec![to_neighbours, is(field("icmpv6", "type"), neighbour_discovery()), accept()]
        }));
    }
    for family in FAMILIES {
        let those = addresses(of_family(family, barred));
        rules.extend(those.map(|those| tables.dropped(vec![is(field(family, "daddr"), those)], "barred")));
    }
    rules
}

/// The set of ICMPv6 types by which neighbours find each other.
pub fn neighbour_discovery() -> Value {
    one_of(NEIGHBOUR_DISCOVERY.map(Value::from).into())
}

/// What leaves by an uplink in clear. A direct flow is pinned to the uplink; what is neither shimmed nor direct has no
/// business there; what the kernel tells routers about multicast on every link is no leak, and has any mark (see
/// `originate`).
fn in_clear(uplinks: &BTreeMap<u8, &str>, tables: &mut Ruleset) {
    let tag = || masked(meta("mark"), mark::TAG_MASK);
    tables.rule(&LEAVE, vec![is(meta("l4proto"), libc::IPPROTO_GRE), is_not(tag(), mark::DIRECT), accept()]);
    let mut rules = vec![
        vec![is(meta("l4proto"), libc::IPPROTO_IGMP), json!({"drop": null})],
        vec![is(field("icmpv6", "type"), MULTICAST_REPORT), json!({"drop": null})],
        tables.dropped(vec![is_not(tag(), mark::DIRECT)], "leak"),
    ];
    for (slot, link) in uplinks {
        let bits = mark::path(*slot, 0);
        // the bits to set kept too: so nft lists it
        let pinned = json!({"|": [masked(ct("mark"), !mark::SLOT_MASK | bits), bits]});
        rules.push(vec![leaves_by(link), mangle(ct("mark"), pinned), accept()]);
    }
    tables.chain("in-clear", rules);
    let kinds: BTreeSet<String> = uplinks.values().map(|link| kind_of(link)).collect();
    for kind in kinds {
        tables.rule(&LEAVE, vec![leaves_by(&kind), goto("in-clear")]);
    }
}
