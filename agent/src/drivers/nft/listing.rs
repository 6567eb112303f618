//! What nft lists of our tables, in one shape whoever wrote it: handles left out, sets sorted, prefixes as ranges.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use pathsteer_crds::ownership::NFT_TABLE;
use serde_json::{Value, json};

use super::address_set;

/// Our tables of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// By kind, family and name (of the chain, where it is a rule), everything in the order in which it has a meaning.
    contents: BTreeMap<(String, String, String), Vec<Value>>,
}

impl Listing {
    /// Reads objects as `nft -j` lists them, and as they are loaded. What is in other tables is left out.
    pub fn of(objects: &[Value]) -> Listing {
        let mut listing = Listing::default();
        for object in objects {
            if let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) {
                listing.add(kind, body);
            }
        }
        listing
    }

    fn add(&mut self, kind: &str, body: &Value) {
        let owner = if kind == "table" { &body["name"] } else { &body["table"] };
        if owner != NFT_TABLE {
            return;
        }
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let name = if kind == "rule" { text("chain") } else { text("name") };
        let content = match kind {
            "rule" => normal(&body["expr"]),
            "counter" => Value::Null,
            "quota" => json!([body["bytes"], body["inv"]]),
            _ => {
                let mut bare = body.clone();
                if let Some(fields) = bare.as_object_mut() {
                    fields.remove("handle");
                    fields.get_mut("elem").into_iter().for_each(|elements| *elements = sorted(elements));
                }
                bare
            }
        };
        self.contents.entry((kind.to_owned(), text("family"), name)).or_default().push(content);
    }

    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// They do the same; what was counted meanwhile makes no difference.
    pub fn is_same(&self, other: &Listing) -> bool {
        self.contents == other.contents
    }

    /// The commands that clear the tables of what the tables of `next` do not keep. Counters and quotas that these have
    /// too stay as they are, with what they have counted; the rest goes, in an order in which nothing is in use.
    pub fn cleared_for(&self, next: &Listing) -> Vec<Value> {
        let mut commands = Vec::new();
        let of_kind = |wanted: fn(&str) -> bool| self.contents.keys().filter(move |(kind, ..)| wanted(kind));
        for (_, family, name) in of_kind(|kind| kind == "table") {
            commands.push(json!({"flush": {"table": {"family": family, "name": name}}}));
        }
        // chains, then the maps that their rules used, then what those used
        for wanted in [|kind: &str| kind == "chain", |kind: &str| matches!(kind, "map" | "set"), is_other] {
            for key in of_kind(wanted) {
                let (kind, family, name) = key;
                if !(matches!(kind.as_str(), "counter" | "quota") && next.contents.contains_key(key)) {
                    let named = json!({"family": family, "table": NFT_TABLE, "name": name});
                    commands.push(json!({"delete": {kind: named}}));
                }
            }
        }
        commands
    }
}

fn is_other(kind: &str) -> bool {
    !matches!(kind, "table" | "rule" | "chain" | "map" | "set")
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(normal).collect(),
        Value::Object(fields) => match (fields.get("prefix"), fields.get("set")) {
            (Some(prefix), _) => as_range(prefix).unwrap_or_else(|| value.clone()),
            (_, Some(set)) => json!({"set": sorted(set)}),
            _ => fields.iter().map(|(name, field)| (name.clone(), normal(field))).collect(),
        },
        Value::String(text) => text.parse::<IpAddr>().map_or_else(|_| value.clone(), |address| json!(address)),
        other => other.clone(),
    }
}

fn sorted(set: &Value) -> Value {
    let Value::Array(mut all) = normal(set) else { return normal(set) };
    all.sort_by_cached_key(Value::to_string);
    Value::Array(all)
}

/// `{"addr": "10.0.0.0", "len": 8}`.
fn as_range(prefix: &Value) -> Option<Value> {
    let address = prefix["addr"].as_str()?.parse().ok()?;
    let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
    Some(address_set::prefix(IpNet::new(address, length).ok()?))
}

#[cfg(test)]
impl Listing {
    /// Where `self` and `other` are not the same.
    pub fn differences(&self, other: &Listing) -> String {
        let keys = self.contents.keys().chain(other.contents.keys());
        let differing = keys.filter(|key| self.contents.get(*key) != other.contents.get(*key));
        let both =
            |key| format!("{key:?}\n  {}\n  {}\n", json!(self.contents.get(key)), json!(other.contents.get(key)));
        differing.map(both).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<Value> {
        let Value::Array(all) = json!([
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "pathsteer", "handle": 1}},
            {"counter": {"family": "inet", "name": "leak", "table": "pathsteer", "handle": 5, "packets": 7, "bytes": 700}},
            {"map": {"family": "inet", "name": "tunnel1", "table": "pathsteer", "type": "ipv4_addr", "handle": 7,
                "map": "mark", "flags": ["interval"], "elem": [["10.0.0.1", 4096], ["10.0.0.2", 4096]]}},
            {"chain": {"family": "inet", "table": "pathsteer", "name": "raw", "handle": 1}},
            {"rule": {"family": "inet", "table": "pathsteer", "chain": "raw", "handle": 6, "expr": [{"notrack": null}]}},
            {"table": {"family": "ip", "name": "pathsteer", "handle": 2}},
            {"quota": {"family": "ip", "name": "copies3", "table": "pathsteer", "handle": 1, "bytes": 5_000_000_000_u64,
                "used": 90, "inv": false}},
            {"table": {"family": "inet", "name": "someone-else", "handle": 9}},
        ]) else {
            unreachable!("it is an array")
        };
        all
    }

    #[test]
    fn handles_counts_and_the_order_of_elements_make_no_difference_but_a_missing_one_does() {
        let before = Listing::of(&listed());
        let mut objects = listed();
        objects[5]["rule"]["handle"] = 77.into();
        objects[2]["counter"]["packets"] = 8.into();
        objects[7]["quota"]["used"] = 91.into();
        objects[3]["map"]["elem"].as_array_mut().unwrap().reverse();
        assert!(Listing::of(&objects).is_same(&before));
        objects[3]["map"]["elem"].as_array_mut().unwrap().pop();
        assert!(!Listing::of(&objects).is_same(&before), "a map element");
        for (index, what) in [(5, "a rule"), (2, "a counter"), (7, "a quota")] {
            let mut objects = listed();
            objects.remove(index);
            assert!(!Listing::of(&objects).is_same(&before), "{what}");
        }
        let mut objects = listed();
        objects[7]["quota"]["bytes"] = 1.into();
        assert!(!Listing::of(&objects).is_same(&before), "another budget");
    }

    #[test]
    fn a_prefix_is_the_range_it_stands_for_however_it_is_written() {
        let rule = |right: Value| json!({"match": {"op": "==", "right": right}});
        let net = |addr: &str, len: u8| json!({"prefix": {"addr": addr, "len": len}});
        let range = json!({"range": ["10.0.0.0", "10.0.0.255"]});
        assert_eq!(normal(&rule(net("10.0.0.0", 24))), rule(range));
        assert_eq!(normal(&rule(net("fd00:0::1", 128))), rule(json!("fd00::1")));
        let set = |one: Value, other: Value| normal(&json!({"set": [one, other]}));
        assert_eq!(set(net("10.0.0.0", 8), 5.into()), set(5.into(), net("10.0.0.0", 8)));
    }

    #[test]
    fn what_the_next_tables_count_too_is_not_deleted() {
        let before = Listing::of(&listed());
        let commands = |next: &Listing| {
            let all = before.cleared_for(next).into_iter();
            all.filter_map(|command| Some(command.get("delete")?.as_object()?.keys().next()?.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(commands(&before), ["chain", "map"]);
        assert_eq!(commands(&Listing::default()), ["chain", "map", "counter", "quota"]);
    }
}
