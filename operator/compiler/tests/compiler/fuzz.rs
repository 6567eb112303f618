//! Manifests that went wrong on their way: pieces of real ones taken out, put elsewhere or replaced by what nobody would
//! write. Whatever comes of it, reading and compiling end with an answer, and check has nothing to say of the plans.

use std::sync::LazyLock;

use pathsteer_compiler::{Compiler, Inventory, check, compile};
use pathsteer_crds::{AnyObject, manifest};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::case;

/// The documents of every case, by case.
static CORPUS: LazyLock<Vec<(String, Vec<Value>)>> = LazyLock::new(|| {
    let documents = |name: &str| {
        case::texts(name).iter().flat_map(|text| serde_saphyr::from_multiple::<Value>(text).unwrap()).collect()
    };
    case::all().into_iter().map(|name| (name.clone(), documents(&name))).collect()
});

/// Values at the edge of something.
fn extremes() -> Vec<Value> {
    let texts = [
        "",
        "0",
        "0.0.0.0",
        "::",
        "::1",
        "0.0.0.0/0",
        "::/0",
        "255.255.255.255/32",
        "10.100.0.0/16",
        "10.100.0.0/20",
        "10.100.0.1/32",
        "10.0.0.0/8",
        "198.51.100.1/31",
        "198.51.100.0/32",
        "198.51.100.0/8",
        "2001:db8:51::1/127",
        "2001:db8:51::/120",
        "169.254.79.0/30",
        "224.0.0.1",
        "::ffff:192.0.2.1",
        "fe80::1/64",
        "1-65535",
        "65535",
        "lo",
        "all",
        "default",
        "default/service",
        "node",
        "wan1",
        "lan0",
        "abcdefghijklmno",
        "mac:02:00:5e:10:00:01",
        "bus:1-2",
        "a/b",
        "\u{0}",
        "ß",
    ];
    let numbers = [0, 1, 8, 9, 15, 63, 64, 255, 1_280, 4_095, 9_000, 51_820, 65_527, 65_535, 65_536, 4_294_967_295u64];
    let rest = [json!(null), json!(true), json!(-1), json!(0.5), json!([]), json!({}), json!("x".repeat(64))];
    texts.into_iter().map(Value::from).chain(numbers.map(Value::from)).chain(rest).collect()
}

/// One thing that goes wrong with what stands at a place.
#[derive(Debug, Clone)]
enum Mishap {
    Gone,
    Twice,
    InAList,
    Extreme(Index),
    /// What stands at this place of the corpus instead.
    Foreign(Index, Index),
}

fn mishap() -> impl Strategy<Value = (Index, Mishap)> {
    let index = any::<Index>;
    let what = prop_oneof![
        1 => Just(Mishap::Gone),
        1 => Just(Mishap::Twice),
        1 => Just(Mishap::InAList),
        3 => index().prop_map(Mishap::Extreme),
        4 => (index(), index()).prop_map(|(document, place)| Mishap::Foreign(document, place)),
    ];
    (index(), what)
}

/// The places in `value`, as JSON pointers, but for its root and where a mishap would only make it nobody's.
fn places(value: &Value) -> Vec<String> {
    fn visit(value: &Value, path: &str, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
            _ => return,
        };
        for (step, child) in children {
            let path = format!("{path}/{step}");
            visit(child, &path, found);
            found.push(path);
        }
    }
    let mut found = Vec::new();
    visit(value, "", &mut found);
    found.retain(|path| !["/apiVersion", "/kind", "/metadata", "/spec"].contains(&path.as_str()));
    found
}

/// Something of the corpus that stands in a field of the same name, if there is any.
fn foreign(like: &str, document: &Index, place: &Index) -> Option<Value> {
    let field = like.rsplit('/').next()?;
    let all: Vec<&Value> = CORPUS.iter().flat_map(|(_, documents)| documents).collect();
    let start = document.index(all.len());
    let mut turned = all[start..].iter().chain(&all[..start]);
    turned.find_map(|document| {
        let alike: Vec<String> =
            places(document).into_iter().filter(|path| path.rsplit('/').next() == Some(field)).collect();
        (!alike.is_empty()).then(|| document.pointer(&alike[place.index(alike.len())]).cloned())?
    })
}

fn happen(documents: &mut [Value], at: &Index, what: &Mishap) {
    let all: Vec<(usize, String)> = documents
        .iter()
        .enumerate()
        .flat_map(|(number, document)| places(document).into_iter().map(move |path| (number, path)))
        .collect();
    if all.is_empty() {
        return;
    }
    let (number, path) = &all[at.index(all.len())];
    let (parent, step) = path.rsplit_once('/').expect("a place lies in something");
    let document = &mut documents[*number];
    match what {
        Mishap::Gone => match document.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(step)),
            Some(Value::Array(items)) => drop(items.remove(step.parse().expect("an index"))),
            _ => {}
        },
        Mishap::Twice => {
            let copy = document.pointer(path).cloned();
            if let (Some(Value::Array(items)), Some(copy)) = (document.pointer_mut(parent), copy) {
                items.push(copy);
            }
        }
        Mishap::InAList => {
            let value = document.pointer_mut(path).expect("it was there");
            *value = json!([value.take()]);
        }
        Mishap::Extreme(index) => {
            let extremes = extremes();
            *document.pointer_mut(path).expect("it was there") = extremes[index.index(extremes.len())].clone();
        }
        Mishap::Foreign(other, place) => {
            if let Some(value) = foreign(path, other, place) {
                *document.pointer_mut(path).expect("it was there") = value;
            }
        }
    }
}

/// The documents of a case after some mishaps, and the case they come from.
fn damaged() -> impl Strategy<Value = (String, Vec<Value>)> {
    (any::<Index>(), vec(mishap(), 1..=8)).prop_map(|(which, mishaps)| {
        let (name, mut documents) = CORPUS[which.index(CORPUS.len())].clone();
        mishaps.iter().for_each(|(at, what)| happen(&mut documents, at, what));
        (name, documents)
    })
}

/// Compiles after the case it comes from, and again with its own numbers, and looks at every plan.
fn compiles(name: &str, mut inventory: Inventory) -> Result<(), TestCaseError> {
    let first = compile(&inventory);
    let mut compiler = Compiler::default();
    compiler.compile(&case::inventory(name));
    prop_assert!(compiler.compile(&inventory) == first, "what was compiled before shows");
    inventory.allocations = first.allocations.clone();
    let second = compile(&inventory);
    prop_assert_eq!(&second.diagnostics, &first.diagnostics);
    prop_assert_eq!(&second.allocations, &first.allocations);
    prop_assert!(second.plans == first.plans);
    for (node, plan) in &first.plans {
        let overlay = inventory.fabrics["default"].overlay;
        prop_assert_eq!(check(node, &plan.objects(), plan.role, overlay), []);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// What can be read takes part, as after `apply`; what cannot is refused with a place in the text.
    #[test]
    fn no_damaged_manifest_makes_reader_or_compiler_panic((name, documents) in damaged()) {
        let mut inventory = case::inventory(&name);
        (inventory.sites, inventory.uplinks, inventory.vlans) = Default::default();
        for document in documents {
            let text = serde_json::to_string_pretty(&document).unwrap();
            match manifest::parse(&text, "damaged.yaml") {
                Ok(read) => read.into_iter().for_each(|located| inventory.insert(located.object)),
                Err(errors) => {
                    let lines = text.lines().count();
                    prop_assert!(!errors.is_empty());
                    for error in errors {
                        prop_assert!((1..=lines).contains(&(error.line as usize)) && error.column >= 1, "{}", error);
                    }
                }
            }
        }
        compiles(&name, inventory)?;
    }

    /// Nobody has looked at these: a compilation holds for what it is given, also by a store that was written by hand.
    #[test]
    fn no_unchecked_object_makes_the_compiler_panic((name, documents) in damaged()) {
        let mut inventory = case::inventory(&name);
        let objects = documents.into_iter().filter_map(|document| serde_json::from_value::<AnyObject>(document).ok());
        objects.for_each(|object| inventory.insert(object));
        compiles(&name, inventory)?;
    }
}
