//! Who may talk to whom: nothing that is not named.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::plan::{NftRule, Only, Welcome};
use serde_json::{Value, json};

use super::{
    guard::neighbour_discovery,
    ruleset::{FORWARD, INPUT, Rule, Ruleset},
    shim::came_in_a_shim,
    words::{accept, by_links, comes_by, ct, field, has_any, is, jump, leaves_by, mangle, meta, one_of},
};

/// Bits of `ct state`: of a flow that was answered, of what belongs to one, of what belongs to none and opens none.
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const INVALID: u32 = 1;
/// The bit of `ct status` of a flow whose destination is not the one its opener sees (IPS_DST_NAT).
const DESTINATION_TRANSLATED: u32 = 32;
/// The SYN bit of a TCP header's flags.
const TCP_SYN: u32 = 2;

/// Pairs of links between which packets are forwarded, and on which conditions; none is none.
type Pairs<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<Option<Only>>>;

/// Forwarding, what the node takes for itself, and how large TCP's segments may be.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    let (mut pairs, mut clamped) = (Pairs::new(), Vec::new());
    let mut protected: BTreeMap<&[Welcome], Vec<Value>> = BTreeMap::new();
    for rule in rules {
        match rule {
            NftRule::ClampMss { link } => clamped.push(json!(link)),
            NftRule::Forward { from, to, only } => {
                pairs.entry((from, to)).or_default().insert(*only);
            }
            NftRule::Protect { link, welcome } => protected.entry(welcome).or_default().push(json!(link)),
            // What belongs to no flow is not translated, and would leave with an address of the site's own.
            NftRule::Masquerade { from, link } => {
                let untranslated = vec![has_any(ct("state"), INVALID), comes_by(from), leaves_by(link)];
                let dropped = tables.dropped(untranslated, "denied");
                tables.rule(&FORWARD, dropped);
            }
            _ => {}
        }
    }
    if !clamped.is_empty() {
        tables.rule(&FORWARD, clamp(one_of(clamped)));
    }
    if !pairs.is_empty() {
        forward(&pairs, tables);
    }
    for (welcome, links) in protected {
        protect(welcome, one_of(links), tables);
    }
}

/// What is no handshake is told by its header, before any name is looked at.
fn clamp(links: Value) -> Rule {
    let segment_size = json!({"tcp option": {"name": "maxseg", "field": "size"}});
    let route_mtu = json!({"rt": {"key": "mtu"}});
    vec![has_any(field("tcp", "flags"), TCP_SYN), is(meta("oifname"), links), mangle(segment_size, route_mtu)]
}

/// One lookup for the pair. A chain that does not accept comes back, to the end where everything is dropped.
fn forward(pairs: &Pairs, tables: &mut Ruleset) {
    let verdict_of = |conditions: &BTreeSet<Option<Only>>| match conditions.contains(&None) {
        true => accept(),
        false => jump(&chain_of(conditions)),
    };
    let verdicts = pairs.iter().map(|(&(from, to), conditions)| (vec![from, to], verdict_of(conditions))).collect();
    let conditional: BTreeSet<_> = pairs.values().filter(|conditions| !conditions.contains(&None)).collect();
    for conditions in conditional {
        let rules = conditions.iter().flatten().map(|only| Ruleset::accepted(vec![condition(*only)]));
        tables.chain(&chain_of(conditions), rules.collect());
    }
    tables.rules(&FORWARD, by_links(&["iifname", "oifname"], verdicts));
    let rest = tables.dropped(Vec::new(), "denied");
    tables.rule(&FORWARD, rest);
}

fn chain_of(conditions: &BTreeSet<Option<Only>>) -> String {
    let names = conditions.iter().flatten().map(|only| match only {
        Only::Established => "-established",
        Only::Shimmed => "-shimmed",
        Only::Redirected => "-redirected",
    });
    format!("only{}", names.collect::<String>())
}

fn condition(only: Only) -> Value {
    match only {
        Only::Established => has_any(ct("state"), vec![ESTABLISHED, RELATED]),
        Only::Shimmed => came_in_a_shim(),
        Only::Redirected => has_any(ct("status"), DESTINATION_TRANSLATED),
    }
}

fn protect(welcome: &[Welcome], links: Value, tables: &mut Ruleset) {
    let by_them = || is(meta("iifname"), links.clone());
    for one in welcome {
        let condition = match one {
            Welcome::Shimmed => came_in_a_shim(),
            Welcome::Diagnostics => {
                let both = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].map(Value::from);
                is(meta("l4proto"), one_of(both.into()))
            }
            Welcome::Neighbours => is(field("icmpv6", "type"), neighbour_discovery()),
        };
        tables.rule(&INPUT, Ruleset::accepted(vec![by_them(), condition]));
    }
    let rest = tables.dropped(vec![by_them()], "denied");
    tables.rule(&INPUT, rest);
}
