//! What nft lists of our tables, in one shape whoever wrote it: handles left out, sets sorted, prefixes as ranges.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use pathsteer_crds::ownership::NFT_TABLE;
use serde_json::{Value, json};

use super::address_set;

/// Kind, family and name; of a rule, its chain's name.
type Key = (String, String, String);

/// Our tables of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Everything in the order in which it has a meaning.
    contents: BTreeMap<Key, Vec<Value>>,
}

impl Listing {
    /// Reads objects as `nft -j` lists them, and as they are loaded. What is in other tables is left out.
    pub fn of(objects: &[Value]) -> Listing {
        let mut listing = Listing::default();
        for (key, body) in objects.iter().filter_map(parts) {
            let content = match key.0.as_str() {
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
            listing.contents.entry(key).or_default().push(content);
        }
        listing
    }

    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// They do the same; what was counted meanwhile makes no difference.
    pub fn is_same(&self, other: &Listing) -> bool {
        self.contents == other.contents
    }

    /// The commands that turn the tables into `objects`, in transactions: maps that are new, then everything else, then
    /// the end of maps that nothing uses any more. What stays the same is not touched, chains that change are emptied
    /// rather than made again, counters and quotas go on with what they have counted. While the kernel exchanges rules, a
    /// packet that meets it may find a new chain without rules or a new map without elements: measured, exchanging
    /// everything costs about one packet each time.
    pub fn turned_into(&self, objects: &[Value]) -> Vec<Vec<Value>> {
        let next = &Listing::of(objects);
        let of_kind = |wanted: fn(&str) -> bool| self.contents.keys().filter(move |key| wanted(&key.0));
        let named = |(kind, family, name): &Key| json!({kind: {"family": family, "table": NFT_TABLE, "name": name}});
        let (mut first, mut then, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for key in of_kind(|kind| kind == "rule").filter(|key| !self.is_untouched(key, next)) {
            then.push(json!({"flush": named(&("chain".into(), key.1.clone(), key.2.clone()))}));
        }
        // chains, then what their rules used
        for wanted in [|kind: &str| kind == "chain", is_other] {
            let gone = of_kind(wanted).filter(|key| !self.stays(key, next));
            then.extend(gone.map(|key| json!({"delete": named(key)})));
        }
        for key in of_kind(is_map).filter(|key| !self.is_untouched(key, next)) {
            match next.contents.contains_key(key) {
                // only somebody else changes what a map of this name holds
                true if self.stays(key, next) => then.push(json!({"flush": named(key)})),
                true => then.push(json!({"delete": named(key)})),
                false => last.push(json!({"delete": named(key)})),
            }
        }
        let add = |object: &Value| json!({"add": object});
        for object in objects {
            match parts(object) {
                Some((key, _)) if self.is_untouched(&key, next) => {}
                Some((key, _)) if is_map(&key.0) && !self.contents.contains_key(&key) => first.push(add(object)),
                _ => then.push(add(object)),
            }
        }
        if !first.is_empty() {
            let tables = objects.iter().filter(|object| object.get("table").is_some());
            first.splice(0..0, tables.map(add));
        }
        [first, then, last].into_iter().filter(|commands| !commands.is_empty()).collect()
    }

    /// Whether what is called `key` is in `next` exactly as it is here; of a rule, whether all of its chain are.
    fn is_untouched(&self, key: &Key, next: &Listing) -> bool {
        let (kind, family, name) = key;
        let same = self.contents.get(key).is_some_and(|old| next.contents.get(key) == Some(old));
        same && (kind != "rule" || self.stays(&("chain".into(), family.clone(), name.clone()), next))
    }

    /// Whether what is called `key` need not be made again for `next`.
    fn stays(&self, key: &Key, next: &Listing) -> bool {
        let (Some(old), Some(new)) = (self.contents.get(key), next.contents.get(key)) else { return false };
        matches!(key.0.as_str(), "counter" | "quota") || empty(old) == empty(new)
    }
}

/// Key and description of an object, if it is of our tables.
fn parts(object: &Value) -> Option<(Key, &Value)> {
    let (kind, body) = object.as_object()?.iter().next()?;
    let owner = if kind == "table" { &body["name"] } else { &body["table"] };
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let name = if kind == "rule" { text("chain") } else { text("name") };
    (owner == NFT_TABLE).then(|| ((kind.clone(), text("family"), name), body))
}

/// Without elements.
fn empty(bodies: &[Value]) -> Vec<Value> {
    let mut bodies = bodies.to_vec();
    for body in bodies.iter_mut().filter_map(Value::as_object_mut) {
        body.remove("elem");
    }
    bodies
}

fn is_map(kind: &str) -> bool {
    matches!(kind, "map" | "set")
}

fn is_other(kind: &str) -> bool {
    !is_map(kind) && !matches!(kind, "table" | "rule" | "chain")
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
    fn only_what_changes_is_touched() {
        let before = Listing::of(&listed());
        let transactions = |objects: &[Value]| {
            let word = |command: &Value| {
                let (verb, object) = command.as_object().unwrap().iter().next().unwrap();
                format!("{verb} {}", object.as_object().unwrap().keys().next().unwrap())
            };
            let words = |all: Vec<Value>| {
                let words = all.iter().map(word).filter(|words| words != "add metainfo" && words != "add table");
                words.collect::<Vec<_>>().join(", ")
            };
            before.turned_into(objects).into_iter().map(words).filter(|words| !words.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(transactions(&listed()), Vec::<String>::new());
        assert_eq!(transactions(&[]), ["flush chain, delete chain, delete counter, delete quota", "delete map"]);
        let mut objects = listed();
        objects[3]["map"]["elem"].as_array_mut().unwrap().pop();
        assert_eq!(transactions(&objects), ["flush map, add map"], "other elements");
        objects[3]["map"]["type"] = "inet_service".into();
        assert_eq!(transactions(&objects), ["delete map, add map"], "of another type");
        objects[5]["rule"]["expr"] = json!([{"accept": null}]);
        objects[3]["map"]["name"] = "tunnel2".into();
        let exchanged = ["add map", "flush chain, add rule", "delete map"];
        assert_eq!(transactions(&objects), exchanged, "a rule that uses another map");
        let mut objects = listed();
        objects[5]["rule"]["expr"] = json!([{"accept": null}]);
        assert_eq!(transactions(&objects), ["flush chain, add rule"], "another rule");
        let mut objects = listed();
        objects[4]["chain"]["prio"] = 5.into();
        let all = ["flush chain, delete chain, add chain, add rule"];
        assert_eq!(transactions(&objects), all, "the same rules at another place");
    }
}
