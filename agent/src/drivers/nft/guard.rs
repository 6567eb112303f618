//! What may not pass whatever becomes of it: forged sources, barred destinations, the overlay on a WAN, and what would
//! leave a site in clear.

use ipnet::IpNet;
use pathsteer_crds::{mark, plan::NftRule};
use serde_json::{Value, json};

use super::{
    address_set::{FAMILIES, addresses, of_family, prefix},
    ruleset::{LEAVE, RAW, Rule, Ruleset},
    words::{accept, comes_by, ct, field, goto, is, is_not, leaves_by, mangle, masked, meta, one_of, verdict},
};

/// Sources beside a segment's own that no router forwards: of who has no address yet, and IPv6 link-local ones.
const NOT_FORWARDED: [&str; 3] = ["0.0.0.0/32", "::/128", "fe80::/10"];
/// ICMPv6 types of neighbour discovery (RFC 4861).
const NEIGHBOUR_DISCOVERY: [u8; 5] = [133, 134, 135, 136, 137];

/// ICMPv6 type of a multicast listener report (RFC 3810).
const MULTICAST_REPORT: u8 = 143;

/// Everything in `rules` that drops by address or by the lack of a mark.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    let (mut segments, mut uplinks) = (Vec::new(), Vec::new());
    for rule in rules {
        match rule {
            NftRule::Segment { link, sources, barred, .. } => {
                let chain = format!("guard-{link}");
                let guarded = segment(sources, barred, tables);
                tables.chain(&chain, guarded);
                segments.push((json!(link), goto(&chain)));
            }
            NftRule::Direct { slot, link } => {
                let chain = format!("leave-{link}");
                let guarded = uplink(*slot, tables);
                tables.chain(&chain, guarded);
                uplinks.push((json!(link), goto(&chain)));
            }
            NftRule::DropOverlay { link, overlay } => {
                let overlay = || prefix(IpNet::V4(*overlay));
                for (chain, by) in [(&RAW, comes_by(link)), (&LEAVE, leaves_by(link))] {
                    for what in [
                        is(field("ip", "saddr"), overlay()),
                        is(field("ip", "daddr"), overlay()),
                        is(meta("l4proto"), libc::IPPROTO_GRE),
                    ] {
                        let dropped = tables.dropped(vec![by.clone(), what], "overlay");
                        tables.rule(chain, dropped);
                    }
                }
            }
            NftRule::DropSources { link, sources } => {
                for family in FAMILIES {
                    if let Some(those) = addresses(of_family(family, sources)) {
                        let condition = vec![comes_by(link), is(field(family, "saddr"), those)];
                        let dropped = tables.dropped(condition, "spoofed");
                        tables.rule(&RAW, dropped);
                    }
                }
            }
            _ => {}
        }
    }
    for (chain, side, places) in [(&RAW, "iifname", segments), (&LEAVE, "oifname", uplinks)] {
        if !places.is_empty() {
            tables.rule(chain, vec![verdict(meta(side), places)]);
        }
    }
}

/// Before conntrack, so that a forged packet does not touch another one's flow.
fn segment(sources: &[IpNet], barred: &[IpNet], tables: &mut Ruleset) -> Vec<Rule> {
    let not_forwarded = NOT_FORWARDED.map(|net| net.parse().expect("a literal"));
    let allowed = [sources, &not_forwarded].concat();
    let mut rules = Vec::new();
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

/// A direct flow is pinned to the uplink that it leaves by. What is neither shimmed nor direct has no business here; what
/// the kernel tells routers about multicast on every link is no leak.
fn uplink(slot: u8, tables: &mut Ruleset) -> Vec<Rule> {
    let tag = || masked(meta("mark"), mark::TAG_MASK);
    let bits = mark::path(slot, 0);
    // the bits to set kept too: so nft lists it
    let pinned = json!({"|": [masked(ct("mark"), !mark::SLOT_MASK | bits), bits]});
    let in_clear = vec![is_not(tag(), mark::DIRECT), is_not(meta("l4proto"), libc::IPPROTO_GRE)];
    vec![
        vec![is(tag(), mark::DIRECT), mangle(ct("mark"), pinned)],
        vec![is(meta("l4proto"), libc::IPPROTO_IGMP), json!({"drop": null})],
        vec![is(field("icmpv6", "type"), MULTICAST_REPORT), json!({"drop": null})],
        tables.dropped(in_clear, "leak"),
    ]
}
