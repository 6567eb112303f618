//! The committed schemas and reference are those of today's types, and say of examples and mistakes what the reader says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pathsteer_crds::{manifest, reference, schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn manifests_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(manifests_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The schema of the document's kind; the document itself as JSON, as other people's tools see it.
fn validators() -> std::collections::BTreeMap<String, jsonschema::Validator> {
    pathsteer_crds::Kind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), jsonschema::validator_for(schema::of_kind(kind).as_value()).unwrap()))
        .collect()
}

#[test]
fn the_committed_schemas_and_pages_are_those_of_the_types() {
    for (folder, generated) in [("schemas", schema::files()), ("docs/reference", reference::files())] {
        let path = root().join(folder);
        for (name, text) in &generated {
            let committed = std::fs::read_to_string(path.join(name)).unwrap_or_default();
            assert!(committed == *text, "{folder}/{name} is not what the types say: run `make schemas`");
        }
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(generated.contains_key(&name), "{folder}/{name} belongs to no type: delete it");
        }
    }
}

/// The paths of all fields below `schema`, by what JSON Schema says and nothing else.
fn paths(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(to) = schema["$ref"].as_str() {
        paths(root, root.pointer(&to[1..]).unwrap(), path, found);
    }
    for one in ["anyOf", "oneOf", "allOf"].iter().filter_map(|keyword| schema[keyword].as_array()).flatten() {
        paths(root, one, path, found);
    }
    if schema["items"].is_object() {
        paths(root, &schema["items"], path, found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        paths(root, field, &path, found);
        found.insert(path);
    }
}

#[test]
fn every_field_of_every_kind_is_in_the_reference_and_nothing_else() {
    let pages = reference::files();
    let headings = |page: &str| -> BTreeSet<String> {
        let heading = |line: &str| Some(line.strip_prefix("### `")?.strip_suffix('`')?.to_owned());
        pages[page].lines().filter_map(heading).collect()
    };
    let shared = headings("README.md");
    for kind in pathsteer_crds::Kind::ALL {
        let (mut found, root) = (BTreeSet::new(), schema::of_kind(kind).to_value());
        paths(&root, &root, "", &mut found);
        found.remove("spec");
        assert!(found.len() > 10, "{kind}: only {found:?}");
        let said = headings(&format!("{}.md", kind.name().to_lowercase()));
        assert!(said.iter().all(|path| path.starts_with("spec.")), "{kind}: {said:?}");
        assert_eq!(said.union(&shared).cloned().collect::<BTreeSet<_>>(), found, "{kind}");
    }
}

#[test]
fn every_example_is_valid_by_schema_and_by_reader() {
    let validators = validators();
    let mut files = manifests_below(&root().join("examples"));
    // Pipelines are no manifests.
    files.retain(|file| !file.starts_with(root().join("examples/gitops")));
    assert!(!files.is_empty(), "there are no examples");
    for path in files {
        let (text, name) = (std::fs::read_to_string(&path).unwrap(), path.display().to_string());
        let objects = manifest::parse(&text, &name).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(objects.len(), documents.len(), "{name}");
        for document in documents {
            let validator = &validators[document["kind"].as_str().unwrap()];
            let errors: Vec<String> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
        }
    }
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let validators = validators();
    let uplink = "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {site: rv-07, name: fiber}\nspec: {slot: 1, kind: fiber, interface: wan1}\n";
    let is_valid = |text: &str| {
        let document: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        validators["Uplink"].is_valid(&document)
    };
    assert!(is_valid(uplink));
    for (right, wrong) in [
        ("v1alpha1", "v2"),
        ("kind: Uplink", "kind: Site"),
        ("site: rv-07, ", ""),
        ("slot: 1", "slot: 9"),
        ("slot: 1", "slott: 1"),
        ("kind: fiber", "kind: fibre"),
        (", interface: wan1", ""),
        ("interface: wan1", "interface: 1"),
    ] {
        let text = uplink.replace(right, wrong);
        assert_ne!(text, uplink, "{right}");
        assert!(!is_valid(&text), "the schema takes `{wrong}`");
        assert!(manifest::parse(&text, "uplink.yaml").is_err(), "the reader takes `{wrong}`");
    }
}
