//! Manifests made by chance: from the schema, so that most are nearly right, and by cutting up the text of real ones.
//! Reading them ends with objects or with errors that have a place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use pathsteer_crds::manifest::{self, ManifestError};
use pathsteer_crds::{AnyObject, Kind, schema};
use proptest::collection::{btree_map, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;
use serde_json::{Map, Value, json};

/// The schema of each kind, as a value and ready to judge.
static SCHEMAS: LazyLock<BTreeMap<&str, (Value, jsonschema::Validator)>> = LazyLock::new(|| {
    let one = |kind: Kind| {
        let schema = schema::of_kind(kind).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        (kind.name(), (schema, validator))
    };
    Kind::ALL.into_iter().map(one).collect()
});

/// The text of every file of examples.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
});

/// What a field of this name wants to hold, and some of what people take for it.
fn words(field: &str) -> &'static [&'static str] {
    match field {
        "name" | "site" | "sites" | "anchors" | "reaches" | "forceUplink" | "failUplink" | "steeringClass" => {
            &["rv-07", "dal-a", "default", "fiber", "crew", "Crew", "no"]
        }
        "interface" => &["wan1", "lan0", "wlan0", "mac:02:00:5e:10:00:01", "bus:1-2", "ps0", "lo"],
        "address" | "vips" | "resolvers" | "operators" => &["203.0.113.10", "2001:db8:a::10", "172.16.7.1", "0.0.0.0"],
        "gateways" => &["172.16.7.2", "2001:db8:7::2"],
        "addresses" => &["172.16.7.1/24", "2001:db8:7::1/64", "172.16.7.1"],
        "overlay" => &["10.100.0.0/16", "10.100.0.0/20", "10.100.0.1/16", "10.0.0.0/8"],
        "ports" => &["443", "10000-20000", "65535-1", "0"],
        _ => &["172.16.7.0/24", "2001:db8:7::/64", "198.51.100.8/30", "0.0.0.0/0", "172.16.7.1/24", "~", "*x", ""],
    }
}

fn text(field: &str) -> impl Strategy<Value = Value> + use<> {
    prop_oneof![
        60 => select(words(field)).prop_map(Value::from),
        1 => "\\PC{0,12}".prop_map(Value::from),
    ]
}

/// Mostly between the bounds that `schema` names.
fn number(schema: &Value) -> impl Strategy<Value = Value> + use<> {
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    let (least, most) = (bound("minimum").unwrap_or(1), bound("maximum").unwrap_or(65_535));
    prop_oneof![
        60 => (least..=most).prop_map(Value::from),
        2 => select(vec![least, least - 1, most, most.saturating_add(1)]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
    ]
}

/// What fits nothing in particular.
fn junk() -> impl Strategy<Value = Value> {
    let rest =
        vec![json!(null), json!(true), json!(0.5), json!(-1), json!([]), json!({}), json!([[]]), json!({"a": 1})];
    prop_oneof![text(""), number(&Value::Null), select(rest)]
}

/// Mostly what `schema` asks for in `field`.
fn value_of(root: &Value, schema: &Value, field: &str) -> BoxedStrategy<Value> {
    if let Some(definition) = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?)) {
        return value_of(root, definition, field);
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(all) = schema[alternatives].as_array() {
            return Union::new(all.iter().map(|one| value_of(root, one, field))).boxed();
        }
    }
    if let Some(word) = schema.get("const") {
        return Just(word.clone()).boxed();
    }
    if let Some(words) = schema["enum"].as_array() {
        return select(words.clone()).boxed();
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let of_type = |name: &str| match name {
        "object" => object(root, schema),
        "array" => vec(mostly(value_of(root, &schema["items"], field)), 0..=3).prop_map(Value::from).boxed(),
        "integer" | "number" => number(schema).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "null" => Just(Value::Null).boxed(),
        _ => text(field).boxed(),
    };
    match types.as_slice() {
        [] => junk().boxed(),
        types => Union::new(types.iter().map(|name| of_type(name))).boxed(),
    }
}

fn mostly(right: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![150 => right, 1 => junk()]
}

fn object(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(name, field)| {
        let value = value_of(root, field, name);
        // What only the server writes is not a manifest's, but somebody will paste it.
        let odds = match (required.contains(&name.as_str()), field["readOnly"] == true) {
            (_, true) => 0.02,
            (true, false) => 0.99,
            (false, false) => 0.3,
        };
        (Just(name.clone()), weighted(odds, mostly(value)))
    });
    let fields: Vec<_> = fields.collect();
    let slip = weighted(0.01, (select(vec!["slott", "name", "spec", ""]), junk()));
    (fields, slip)
        .prop_map(|(fields, slip)| {
            let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let mut all: Map<String, Value> = given.collect();
            all.extend(slip.map(|(name, value)| (name.to_owned(), value)));
            Value::Object(all)
        })
        .boxed()
}

/// A document of any kind.
fn document() -> impl Strategy<Value = Value> {
    let of = |(schema, _): &(Value, jsonschema::Validator)| object(schema, schema);
    Union::new(SCHEMAS.values().map(of).collect::<Vec<_>>())
}

/// Whatever YAML or a terminal could take for something else.
fn label() -> impl Strategy<Value = String> {
    "[\\x00-\\x1f \\x7f-\\x9f\u{2028}\u{2029}\u{feff}\u{1f600}a-c:#'\"\\\\{}\\[\\]&*!|>%@`~-]{0,6}"
}

/// Some YAML to the same effect: a block or one line.
fn written(document: &Value, block: bool) -> String {
    if block { serde_saphyr::to_string(document).unwrap() } else { document.to_string() }
}

fn placed(errors: Vec<ManifestError>, text: &str) -> Result<(), TestCaseError> {
    // YAML knows the line ends of all times, and an error at the end stands behind the last line.
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count() + 1;
    prop_assert!(!errors.is_empty());
    for error in errors {
        let told = !error.message.is_empty() && error.column >= 1;
        prop_assert!((1..=lines).contains(&(error.line as usize)) && told, "{} in\n{}", error, text);
    }
    Ok(())
}

/// The schema takes what the reader takes, and the reader what is written of it.
fn is_right(object: &AnyObject, document: &Value) -> Result<(), TestCaseError> {
    let validator = &SCHEMAS[object.kind().name()].1;
    let errors: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
    prop_assert!(errors.is_empty(), "the reader takes what the schema does not: {:?} in {}", errors, document);
    let yaml = manifest::to_yaml(object);
    let again = manifest::parse(&yaml, "again.yaml");
    let again = again.map_err(|errors| TestCaseError::fail(format!("{errors:?} in\n{yaml}")))?;
    prop_assert_eq!(&again[0].object, object);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_from_a_schema_is_read_or_refused_with_a_place(
        documents in vec(document(), 1..=3), block in any::<bool>(),
    ) {
        let texts: Vec<String> = documents.iter().map(|one| written(one, block)).collect();
        let mut right = 0;
        for (text, document) in texts.iter().zip(&documents) {
            match manifest::parse(text, "made.yaml") {
                Ok(objects) => {
                    right += 1;
                    is_right(&objects[0].object, document)?;
                }
                Err(errors) => placed(errors, text)?,
            }
        }
        let together = texts.join("\n---\n");
        match manifest::parse(&together, "made.yaml") {
            Ok(objects) => prop_assert!(objects.len() == documents.len() && right == documents.len()),
            Err(errors) => {
                placed(errors, &together)?;
                prop_assert!(right < documents.len(), "together they are wrong:\n{}", together);
            }
        }
    }

    /// Pieces taken out and others put in, of any of the examples: close enough to get past the YAML.
    #[test]
    fn what_is_cut_up_is_read_or_refused_with_a_place(
        file in any::<Index>(),
        cuts in vec((any::<Index>(), 0..40usize, "[a-z0-9:{}\\[\\]\"&*!|>%@ \n\t#,?-]{0,12}|\\PC{0,3}"), 1..=4),
    ) {
        let mut text: Vec<char> = TEXTS[file.index(TEXTS.len())].chars().collect();
        for (at, length, put) in cuts {
            let from = at.index(text.len() + 1);
            let to = (from + length).min(text.len());
            text.splice(from..to, put.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = manifest::parse(&text, "cut.yaml") {
            placed(errors, &text)?;
        }
    }

    #[test]
    fn whatever_people_write_on_a_label_survives_being_written_and_read(
        labels in btree_map(label(), label(), 1..=3),
    ) {
        let mut object = manifest::parse(&TEXTS[0], "example.yaml").unwrap().remove(0).object;
        object.metadata_mut().labels = labels;
        let yaml = manifest::to_yaml(&object);
        let again = manifest::parse(&yaml, "again.yaml").map_err(|errors| TestCaseError::fail(format!("{errors:?} in\n{yaml}")))?;
        prop_assert_eq!(&again[0].object, &object);
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_place(bytes in vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(errors) = manifest::parse(&text, "bytes.yaml") {
            placed(errors, &text)?;
        }
    }
}

/// Chance must not have forgotten how to make a right one: then the properties above would say little.
#[test]
fn many_of_those_made_from_a_schema_are_right() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut right: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..2_000 {
        let document = document().new_tree(&mut runner).unwrap().current();
        if manifest::parse(&document.to_string(), "made.yaml").is_ok() {
            *right.entry(document["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let kinds: Vec<&str> = right.keys().map(String::as_str).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "{right:?}");
    assert!(right.values().sum::<usize>() > 200, "{right:?}");
}
