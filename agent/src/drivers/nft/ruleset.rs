//! Our tables as they are put together: two of one name, `inet` for nearly everything and `ip` for copies, because dup
//! knows no inet family. There is a chain only where there is a rule: each costs every packet.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::ownership::NFT_TABLE;
use serde_json::{Value, json};

use super::words::accept;

/// The statements of one rule.
pub type Rule = Vec<Value>;

/// A chain that packets come to by themselves.
pub struct Base {
    pub name: &'static str,
    family: &'static str,
    kind: &'static str,
    hook: &'static str,
    priority: i32,
}

const fn inet(name: &'static str, kind: &'static str, hook: &'static str, priority: i32) -> Base {
    Base { name, family: "inet", kind, hook, priority }
}

/// Before conntrack (-200): what it must neither track nor see.
pub const RAW: Base = inet("raw", "filter", "prerouting", -300);
/// After conntrack and before routing: what a flow is.
pub const ARRIVE: Base = inet("arrive", "filter", "prerouting", -150);
/// The same of what the node itself sends.
pub const ORIGINATE: Base = inet("originate", "filter", "output", -150);
/// Address translation of what arrives, at nft's own place for it (dstnat).
pub const REDIRECT: Base = inet("redirect", "nat", "prerouting", -100);
/// Who may talk to whom.
pub const FORWARD: Base = inet("forward", "filter", "forward", 0);
/// Who may talk to the node.
pub const INPUT: Base = inet("input", "filter", "input", 0);
/// Address translation, at nft's own place for it (srcnat).
pub const TRANSLATE: Base = inet("translate", "nat", "postrouting", 100);
/// After everything that might still change a packet.
pub const LEAVE: Base = inet("leave", "filter", "postrouting", 300);
/// The same, for copies.
pub const COPY: Base = Base { name: "copy", family: "ip", kind: "filter", hook: "postrouting", priority: 300 };

/// The tables of one namespace.
#[derive(Default)]
pub struct Ruleset {
    chains: BTreeMap<(&'static str, String), Value>,
    rules: Vec<Value>,
    maps: Vec<Value>,
    counters: BTreeSet<&'static str>,
    quotas: BTreeMap<u8, u64>,
}

impl Ruleset {
    /// Adds a rule to a base chain.
    pub fn rule(&mut self, chain: &Base, statements: Rule) {
        let Base { name, family, kind, hook, priority } = *chain;
        let described = || {
            json!({"family": family, "table": NFT_TABLE, "name": name, "type": kind, "hook": hook, "prio": priority,
                   "policy": "accept"})
        };
        self.chains.entry((family, name.to_owned())).or_insert_with(described);
        self.push(family, name, statements);
    }

    /// Adds rules to a base chain.
    pub fn rules(&mut self, chain: &Base, rules: Vec<Rule>) {
        for statements in rules {
            self.rule(chain, statements);
        }
    }

    /// Adds a chain to which rules lead; also an empty one, if they do.
    pub fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        let described = json!({"family": "inet", "table": NFT_TABLE, "name": name});
        self.chains.insert(("inet", name.to_owned()), described);
        for statements in rules {
            self.push("inet", name, statements);
        }
    }

    fn push(&mut self, family: &str, chain: &str, statements: Rule) {
        self.rules.push(json!({"family": family, "table": NFT_TABLE, "chain": chain, "expr": statements}));
    }

    /// Adds a map from keys of the types in `key` to marks.
    pub fn map(&mut self, name: &str, key: &[&str], elements: Vec<(Value, u32)>) {
        let key = if let [one] = key { json!(one) } else { json!(key) };
        let map = json!({"family": "inet", "table": NFT_TABLE, "name": name, "type": key, "map": "mark",
                         "flags": ["interval"], "elem": elements});
        // two rules may look up the same: for two DSCPs, say
        if !self.maps.contains(&map) {
            self.maps.push(map);
        }
    }

    /// `conditions` and then: count under `counter` and drop.
    pub fn dropped(&mut self, mut conditions: Rule, counter: &'static str) -> Rule {
        self.counters.insert(counter);
        conditions.extend([json!({"counter": counter}), json!({"drop": null})]);
        conditions
    }

    /// `conditions` and then: accept.
    pub fn accepted(mut conditions: Rule) -> Rule {
        conditions.push(accept());
        conditions
    }

    /// The statement that is true until `bytes` have been copied to `slot`.
    pub fn quota(&mut self, slot: u8, bytes: u64) -> Value {
        self.quotas.insert(slot, bytes);
        json!({"quota": quota_name(slot)})
    }

    /// Everything in the order in which it can be loaded. A quota that is not there yet begins with what was `used` of
    /// it; of one that is there the kernel knows better.
    pub fn objects(&self, used: &BTreeMap<u8, u64>) -> Vec<Value> {
        let tables = FAMILIES.into_iter().map(|(family, _)| json!({"table": {"family": family, "name": NFT_TABLE}}));
        let counters = self.counters.iter();
        let counters = counters.map(|name| json!({"counter": {"family": "inet", "table": NFT_TABLE, "name": name}}));
        let quotas = self.quotas.iter().map(|(slot, bytes)| {
            let used = used.get(slot).copied().unwrap_or(0);
            json!({"quota": {"family": "ip", "table": NFT_TABLE, "name": quota_name(*slot), "bytes": bytes,
                             "used": used, "inv": false}})
        });
        let chains = self.chains.values().map(|chain| json!({"chain": chain}));
        let maps = self.maps.iter().map(|map| json!({"map": map}));
        let rules = self.rules.iter().map(|rule| json!({"rule": rule}));
        tables.chain(counters).chain(quotas).chain(chains).chain(maps).chain(rules).collect()
    }
}

/// A table for each, always: the family's name and the kernel's number.
pub const FAMILIES: [(&str, i32); 2] = [("inet", libc::NFPROTO_INET), ("ip", libc::NFPROTO_IPV4)];

const QUOTA: &str = "copies";

fn quota_name(slot: u8) -> String {
    format!("{QUOTA}{slot}")
}

/// The slot whose copies the quota called `name` limits.
pub fn quota_slot(name: &str) -> Option<u8> {
    name.strip_prefix(QUOTA)?.parse().ok()
}

/// The command that begins the quota of `slot` anew.
pub fn reset_of(slot: u8) -> Value {
    json!({"reset": {"quota": {"family": "ip", "table": NFT_TABLE, "name": quota_name(slot)}}})
}
