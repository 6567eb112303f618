//! Maps from what a flow looks like to what becomes of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pathsteer_crds::{
    PortRange, mark,
    plan::{ClassElement, ClassMap, Family, FlowTo, PolicySet, RemoteSide},
};
use serde_json::{Value, json};

use super::{
    address_set::prefix,
    ruleset::{Rule, Ruleset},
    words::{accept, ct, field, goto, is, looked_up, mangle, meta, together},
};

/// Protocols whose packets have ports where keys look for them: TCP and UDP.
const WITH_PORTS: [u8; 2] = [6, 17];
const EVERYWHERE: &str = "0.0.0.0/0";
const EVERYWHERE_V6: &str = "::/0";

/// The chain in which the maps of a set are tried.
pub fn chain_of(set: PolicySet) -> &'static str {
    match set {
        PolicySet::Tunnel => "tunnel",
        PolicySet::Mixed => "mixed",
    }
}

/// The chains of `set`, with its maps in their order. TCP and UDP look themselves up with their ports in a chain of their
/// own, so that all ways of naming flows are one lookup; other packets have no ports that a key could hold. Both chains are
/// always there: a flow that is decided while one is made would find it without rules.
pub fn render(set: PolicySet, maps: &[&ClassMap], tables: &mut Ruleset) {
    let mut maps: Vec<&ClassMap> = maps.iter().copied().filter(|map| map.set == set).collect();
    maps.sort_by_key(|map| map.order);
    let chain = format!("{}-ports", chain_of(set));
    let with_ports = maps.iter().flat_map(|map| lookups(map, "", may_have_ports, tables)).collect();
    tables.chain(&chain, with_ports);
    let mut rules: Vec<Rule> = WITH_PORTS.map(|protocol| vec![is(meta("l4proto"), protocol), goto(&chain)]).into();
    rules.extend(maps.iter().flat_map(|map| lookups(map, "bare", may_have_none, tables)));
    tables.chain(chain_of(set), rules);
}

fn may_have_ports(element: &ClassElement) -> bool {
    element.protocol.is_none_or(|protocol| WITH_PORTS.contains(&protocol))
}

fn may_have_none(element: &ClassElement) -> bool {
    element.protocol.is_none_or(|protocol| !WITH_PORTS.contains(&protocol))
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

/// One rule for those elements of a map that are `wanted`; nft lists a DSCP in a key in a way that cannot be written, so it
/// is compared before, and there is one rule for each. As elements do not overlap, their order means nothing.
fn lookups(map: &ClassMap, kind: &str, wanted: fn(&ClassElement) -> bool, tables: &mut Ruleset) -> Vec<Rule> {
    let mut by_dscp: BTreeMap<Option<u8>, Vec<&ClassElement>> = BTreeMap::new();
    for element in map.elements.iter().filter(|element| wanted(element)) {
        by_dscp.entry(element.dscp).or_default().push(element);
    }
    let family = if map.family == Some(Family::Ipv6) { "ip6" } else { "ip" };
    let one = |(dscp, elements): (Option<u8>, Vec<&ClassElement>)| {
        let mut rule: Rule = dscp.map(|dscp| is(field(family, "dscp"), dscp)).into_iter().collect();
        let fields = fields(family, map.remote, &elements);
        if fields.is_empty() {
            rule.extend(pin(mark_of(elements[0].to)));
            return rule;
        }
        let key = |element: &ClassElement| together(fields.iter().map(|field| (field.value)(element)).collect());
        let elements: Vec<_> = elements.iter().map(|element| (key(element), mark_of(element.to))).collect();
        let types: Vec<_> = fields.iter().map(|field| field.kind).collect();
        let name =
            format!("{}{}{kind}-{:016x}", chain_of(map.set), map.order, hash(&json!([types, elements]).to_string()));
        tables.map(&name, &types, elements);
        let packet = together(fields.into_iter().map(|field| field.packet).collect());
        rule.extend(pin(looked_up(packet, &name)));
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

/// A field of a key.
struct Field {
    /// Its type in nft.
    kind: &'static str,
    /// Where a packet has it.
    packet: Value,
    /// What an element says of it: everything, if it does not name it.
    value: fn(&ClassElement) -> Value,
}

/// Whatever any of `elements` names.
fn fields(family: &str, remote: RemoteSide, elements: &[&ClassElement]) -> Vec<Field> {
    let (remote, port, local) = match remote {
        RemoteSide::Destination => ("daddr", "dport", "saddr"),
        RemoteSide::Source => ("saddr", "sport", "daddr"),
    };
    let v6 = family == "ip6";
    let address = if v6 { "ipv6_addr" } else { "ipv4_addr" };
    let [of_prefix, of_local]: [fn(&ClassElement) -> Value; 2] = match v6 {
        true => [|one| network(one.prefix, EVERYWHERE_V6), |one| network(one.local, EVERYWHERE_V6)],
        false => [|one| network(one.prefix, EVERYWHERE), |one| network(one.local, EVERYWHERE)],
    };
    let named = |named: fn(&ClassElement) -> bool, kind, packet, value| {
        elements.iter().any(|element| named(element)).then_some(Field { kind, packet, value })
    };
    let all = [
        named(|one| one.prefix.is_some(), address, field(family, remote), of_prefix),
        named(|one| one.local.is_some(), address, field(family, local), of_local),
        named(
            |one| one.protocol.is_some(),
            "inet_proto",
            meta("l4proto"),
            |one| one.protocol.map_or_else(|| json!({"range": [0, u8::MAX]}), Value::from),
        ),
        named(
            |one| one.ports.is_some(),
            "inet_service",
            field("th", port),
            |one| {
                let PortRange { first, last } = one.ports.unwrap_or(PortRange { first: 0, last: u16::MAX });
                if first == last { json!(first) } else { json!({"range": [first, last]}) }
            },
        ),
    ];
    all.into_iter().flatten().collect()
}

fn network(named: Option<IpNet>, everywhere: &str) -> Value {
    prefix(named.unwrap_or_else(|| everywhere.parse().expect("a literal")))
}
