//! The committed schemas are those of today's types, and say of examples and mistakes what the reader says.

use std::path::{Path, PathBuf};

use pathsteer_crds::{manifest, schema};

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
fn the_committed_schemas_are_those_of_the_types() {
    let folder = root().join("schemas");
    let generated = schema::files();
    for (name, json) in &generated {
        let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == *json, "schemas/{name} is not what the types say: run `make schemas`");
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(generated.contains_key(&name), "schemas/{name} belongs to no type: delete it");
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
