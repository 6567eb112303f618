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

pub fn concat(fields: Vec<Value>) -> Value {
    json!({"concat": fields})
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

/// The verdict for `key`; none of them lets the packet go on to the next rule.
pub fn verdict(key: Value, verdicts: Vec<(Value, Value)>) -> Value {
    json!({"vmap": {"key": key, "data": {"set": verdicts}}})
}
