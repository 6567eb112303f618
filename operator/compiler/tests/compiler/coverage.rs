//! What the cases show: every example, every field and word of every kind, every diagnostic, every finding of check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pathsteer_compiler::{Reason, compile};
use pathsteer_crds::{Kind, schema};
use serde_json::Value;

use crate::{case, faults};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of examples is one that holds a manifest; the other holds pipelines.
#[test]
fn every_folder_of_examples_is_a_case_that_compiles_without_a_word() {
    let folders = fs::read_dir(project().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let holds_manifests = |folder: &PathBuf| {
        let texts = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        texts.into_iter().any(|text| text.contains("apiVersion: pathsteer.io/"))
    };
    let examples: Vec<String> = folders.filter(holds_manifests).map(|folder| case::name_of(&folder)).collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for name in examples {
        assert!(case::folder(&name).is_dir(), "tests/cases/{name} is missing: examples/{name} needs a golden case");
        assert!(!case::folder(&name).join("manifests.yaml").exists(), "case {name} hides the example of its name");
        let compiled = compile(&case::inventory(&name));
        assert_eq!(compiled.diagnostics, [], "examples/{name}");
        assert!(compiled.plans.len() >= 2, "examples/{name} makes no fabric");
    }
}

#[test]
fn every_reason_for_a_diagnostic_is_in_some_case() {
    let seen: BTreeSet<Reason> =
        case::all().iter().flat_map(|name| compile(&case::inventory(name)).diagnostics).map(|one| one.reason).collect();
    // What is unsound by itself is refused before it is in any inventory.
    let unseen: Vec<&Reason> =
        Reason::ALL.iter().filter(|one| **one != Reason::Invalid && !seen.contains(one)).collect();
    assert!(unseen.is_empty(), "no case shows {unseen:?}");
    let words: Vec<&str> = Reason::ALL.iter().map(|one| one.word()).collect();
    assert!(words.is_sorted(), "diagnostics are in the order of their words");
}

#[test]
fn every_field_and_word_that_a_manifest_may_hold_is_in_some_case() {
    let mut seen = BTreeSet::new();
    for name in case::all() {
        for text in case::texts(&name) {
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            for document in documents {
                said(&document["spec"], document["kind"].as_str().unwrap(), &mut seen);
            }
        }
    }
    let mut known = BTreeSet::new();
    for kind in Kind::ALL {
        let root = schema::of_kind(kind).to_value();
        allowed(&root, &root["properties"]["spec"], kind.name(), &mut known);
    }
    assert!(known.len() > 80, "{known:?}");
    let unseen: Vec<&String> = known.difference(&seen).collect();
    assert!(unseen.is_empty(), "no case shows {unseen:#?}");
}

/// Every field and every text of `value`: `Uplink.slot`, `Uplink.kind fiber`.
fn said(value: &Value, path: &str, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                seen.insert(format!("{path}.{name}"));
                said(value, &format!("{path}.{name}"), seen);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| said(item, path, seen)),
        Value::String(text) => drop(seen.insert(format!("{path} {text}"))),
        _ => {}
    }
}

/// Every field that `schema` knows, and every word where it knows them all.
fn allowed(root: &Value, schema: &Value, path: &str, known: &mut BTreeSet<String>) {
    if let Some(definition) = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?)) {
        allowed(root, definition, path, known);
    }
    for alternatives in ["anyOf", "oneOf"] {
        schema[alternatives].as_array().into_iter().flatten().for_each(|one| allowed(root, one, path, known));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        known.insert(format!("{path}.{name}"));
        allowed(root, field, &format!("{path}.{name}"), known);
    }
    if schema["items"].is_object() {
        allowed(root, &schema["items"], path, known);
    }
    let words = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
    known.extend(words.filter_map(Value::as_str).map(|word| format!("{path} {word}")));
}

/// The reasons that check gives stand in its source as words of two humps or more.
#[test]
fn every_finding_of_check_has_a_planted_fault() {
    let folder = project().join("operator/compiler/src/check");
    let sources = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let source: String = sources.collect();
    let is_reason = |text: &&str| {
        text.chars().all(char::is_alphanumeric)
            && text.chars().filter(char::is_ascii_uppercase).count() >= 2
            && text.starts_with(char::is_uppercase)
            && text.chars().nth(1).is_some_and(|second| second.is_ascii_lowercase())
    };
    let reasons: BTreeSet<&str> = source.split('"').skip(1).step_by(2).filter(is_reason).collect();
    assert!(reasons.len() > 40, "{reasons:?}");
    let planted = faults::reasons();
    let unplanted: Vec<&&str> = reasons.iter().filter(|reason| !planted.contains(*reason)).collect();
    assert!(unplanted.is_empty(), "nobody plants {unplanted:?}");
}
