//! The words of nft's JSON (libnftables-json(5)): what a rule looks at, compares, sets and decides. Spelled as nft itself
//! lists them, so that what is loaded and what is found can be compared. Numbers stand for protocols, types and flags:
//! `nft -n` lists them so, whatever the version calls them.

use serde_json::{Value, json};

pub fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

pub fn ct(key: &str) -> Value {
    json!({"ct": {"key": key}})
}

pub fn field(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

pub fn masked(value: Value, mask: u32) -> Value {
    json!({"&": [value, mask]})
}

/// Fields that are looked up together.
pub fn together(mut fields: Vec<Value>) -> Value {
    if fields.len() == 1 { fields.remove(0) } else { json!({"concat": fields}) }
}

/// One of `all`; nft lists a set of one as that one.
pub fn one_of(mut all: Vec<Value>) -> Value {
    if all.len() == 1 { all.remove(0) } else { json!({"set": all}) }
}

fn compare(op: &str, left: Value, right: impl Into<Value>) -> Value {
    json!({"match": {"op": op, "left": left, "right": right.into()}})
}

pub fn is(left: Value, right: impl Into<Value>) -> Value {
    compare("==", left, right)
}

pub fn is_not(left: Value, right: impl Into<Value>) -> Value {
    compare("!=", left, right)
}

/// Any of the flags in `right` is set.
pub fn has_any(left: Value, right: impl Into<Value>) -> Value {
    compare("in", left, right)
}

pub fn comes_by(link: &str) -> Value {
    is(meta("iifname"), link)
}

pub fn leaves_by(link: &str) -> Value {
    is(meta("oifname"), link)
}

pub fn mangle(key: Value, value: impl Into<Value>) -> Value {
    json!({"mangle": {"key": key, "value": value.into()}})
}

pub fn accept() -> Value {
    json!({"accept": null})
}

pub fn jump(chain: &str) -> Value {
    json!({"jump": {"target": chain}})
}

pub fn goto(chain: &str) -> Value {
    json!({"goto": {"target": chain}})
}

pub fn notrack() -> Value {
    json!({"notrack": null})
}

/// What the map called `map` holds for `key`. A rule ends where it holds nothing.
pub fn looked_up(key: Value, map: &str) -> Value {
    json!({"map": {"key": key, "data": format!("@{map}")}})
}

/// As many comparisons of names cost less than one lookup (measured: 32 ns each, beside 88 for a name and 120 for two).
const FEW: usize = 2;

/// Rules that give the verdict for the links by which a packet comes or leaves: `keys` says which, `verdicts` has a name
/// for each. None of the verdicts lets the packet go on to the next rule.
pub fn by_links(keys: &[&str], verdicts: Vec<(Vec<&str>, Value)>) -> Vec<Vec<Value>> {
    if verdicts.len() <= FEW {
        let compared = |(names, verdict): (Vec<&str>, Value)| {
            let mut rule: Vec<Value> = keys.iter().zip(names).map(|(key, name)| is(meta(key), name)).collect();
            rule.push(verdict);
            rule
        };
        return verdicts.into_iter().map(compared).collect();
    }
    let verdicts: Vec<Value> =
        verdicts.into_iter().map(|(names, verdict)| json!([together(texts(&names)), verdict])).collect();
    let keys = keys.iter().map(|key| meta(key)).collect();
    vec![vec![json!({"vmap": {"key": together(keys), "data": {"set": verdicts}}})]]
}

fn texts(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!(name)).collect()
}

/// What stands for a link and all others of its kind, which differ in their number.
pub fn kind_of(link: &str) -> String {
    format!("{}*", link.trim_end_matches(|c: char| c.is_ascii_digit()))
}
