//! Maps from what a flow looks like to what becomes of it.

use std::collections::BTreeMap;

use pathsteer_crds::{
    mark,
    plan::{ClassElement, ClassMap, Family, FlowTo, PolicySet, RemoteSide},
};
use serde_json::{Value, json};

use super::{
    address_set::prefix,
    ruleset::{Rule, Ruleset},
    words::{accept, concat, ct, field, is, looked_up, mangle, meta},
};

/// The chain in which the maps of a set are tried.
pub fn chain_of(set: PolicySet) -> &'static str {
    match set {
        PolicySet::Tunnel => "tunnel",
        PolicySet::Mixed => "mixed",
    }
}

/// The chain of `set`, with its maps in their order.
pub fn render(set: PolicySet, maps: &[&ClassMap], tables: &mut Ruleset) {
    let mut maps: Vec<&&ClassMap> = maps.iter().filter(|map| map.set == set).collect();
    maps.sort_by_key(|map| map.order);
    let rules = maps.into_iter().flat_map(|map| lookups(map, tables)).collect();
    tables.chain(chain_of(set), rules);
}

/// What the mark of such a flow says.
pub fn mark_of(to: FlowTo) -> u32 {
    match to {
        FlowTo::Class(class) => mark::class(class),
        FlowTo::Direct => mark::DIRECT,
    }
}

/// Marks packet and flow with `value`, and is done.
pub fn pin(value: impl Into<Value>) -> Rule {
    vec![mangle(meta("mark"), value), mangle(ct("mark"), meta("mark")), accept()]
}

/// One rule for a map; nft lists a DSCP in a key in a way that cannot be written, so it is compared before, and there is
/// one rule for each. As elements do not overlap, their order means nothing.
fn lookups(map: &ClassMap, tables: &mut Ruleset) -> Vec<Rule> {
    let mut by_dscp: BTreeMap<Option<u8>, Vec<&ClassElement>> = BTreeMap::new();
    for element in &map.elements {
        by_dscp.entry(element.dscp).or_default().push(element);
    }
    let family = if map.family == Some(Family::Ipv6) { "ip6" } else { "ip" };
    let one = |(dscp, elements): (Option<u8>, Vec<&ClassElement>)| {
        let mut rule: Rule = dscp.map(|dscp| is(field(family, "dscp"), dscp)).into_iter().collect();
        let fields = fields(family, map.remote, elements[0]);
        if fields.is_empty() {
            rule.extend(pin(mark_of(elements[0].to)));
            return rule;
        }
        let (types, keys): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let elements = elements.iter().map(|element| (together(values(element)), mark_of(element.to)));
        let elements: Vec<_> = elements.collect();
        let name = format!("{}{}-{:016x}", chain_of(map.set), map.order, hash(&json!([types, elements]).to_string()));
        tables.map(&name, &types, elements);
        rule.extend(pin(looked_up(together(keys), &name)));
        rule
    };
    by_dscp.into_iter().map(one).collect()
}

/// A map is named by what it holds (FNV-1a), so that one that changes is another one: it is there before the rules that
/// look flows up in it, and goes after those that did. Elements that are exchanged under a rule are missing for a moment,
/// and a flow that is looked up then is in clear to its end.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Type and expression of each field that the elements of a map name.
fn fields(family: &str, remote: RemoteSide, element: &ClassElement) -> Vec<(&'static str, Value)> {
    let (remote, port, local) = match remote {
        RemoteSide::Destination => ("daddr", "dport", "saddr"),
        RemoteSide::Source => ("saddr", "sport", "daddr"),
    };
    let address = if family == "ip6" { "ipv6_addr" } else { "ipv4_addr" };
    let all = [
        element.prefix.map(|_| (address, field(family, remote))),
        element.local.map(|_| (address, field(family, local))),
        element.protocol.map(|_| ("inet_proto", meta("l4proto"))),
        element.ports.map(|_| ("inet_service", field("th", port))),
    ];
    all.into_iter().flatten().collect()
}

/// Its values, in the order of [`fields`].
fn values(element: &ClassElement) -> Vec<Value> {
    let ports = element.ports.map(|ports| match ports.first == ports.last {
        true => json!(ports.first),
        false => json!({"range": [ports.first, ports.last]}),
    });
    let all = [element.prefix.map(prefix), element.local.map(prefix), element.protocol.map(Value::from), ports];
    all.into_iter().flatten().collect()
}

fn together(mut fields: Vec<Value>) -> Value {
    if fields.len() == 1 { fields.remove(0) } else { concat(fields) }
}
