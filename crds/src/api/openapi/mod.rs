//! The API described as OpenAPI 3.1, from the types that are sent. Sessions of nodes are not part of it: they are between
//! an agent and its operator, and versioned by themselves.

mod answers;
mod schemas;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use self::answers::{answers, problems};
use self::schemas::{example, reference, schemas, self_contained};
use super::{ApplyQuery, DeleteQuery, EventQuery, ListQuery, LogQuery, Operation, WatchQuery, WriteQuery};
use crate::Kind;

/// The whole description.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in Operation::all() {
        let path = paths.entry(operation.path()).or_insert_with(|| json!({}));
        path[operation.method().name()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "PathSteer",
            "version": "v1",
            "description": "Declares, shows and steers a fabric. JSON over HTTPS; whoever asks shows a certificate that \
                the operator has issued to a user.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "https://127.0.0.1:7443", "description": "where an operator listens unless told otherwise"}],
        "security": [{"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": problems(),
            "securitySchemes": {
                "certificate": {"type": "mutualTLS", "description": "`pathsteer-operator issue user` makes one"},
            },
        },
    })
}

fn described(operation: Operation) -> Value {
    let (id, summary) = words(operation);
    let mut described = json!({"operationId": id, "summary": summary, "responses": answers(operation)});
    let mut parameters = names(operation);
    parameters.extend(match operation {
        Operation::List(_) => query::<ListQuery>(),
        Operation::Watch(_) | Operation::WatchEvents => query::<WatchQuery>(),
        Operation::Create(_) | Operation::Replace(_) | Operation::Patch(_) => query::<WriteQuery>(),
        Operation::Delete(_) => query::<DeleteQuery>(),
        Operation::Apply => query::<ApplyQuery>(),
        Operation::ListEvents => query::<EventQuery>(),
        Operation::GetNodeLog => query::<LogQuery>(),
        Operation::Get(_)
        | Operation::ListPaths
        | Operation::ListNodes
        | Operation::GetNode
        | Operation::GetPlan
        | Operation::Healthz
        | Operation::Readyz
        | Operation::Version
        | Operation::OpenApi => Vec::new(),
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    let body = match operation {
        Operation::Create(kind) | Operation::Replace(kind) => Some(("application/json", reference(kind.name()))),
        Operation::Patch(_) => Some(("application/merge-patch+json", json!({"type": "object"}))),
        Operation::Apply => Some(("application/json", reference("ObjectList"))),
        _ => None,
    };
    if let Some((media, schema)) = body {
        described["requestBody"] = json!({"required": true, "content": {media: {"schema": schema}}});
        let example = match operation {
            Operation::Create(kind) | Operation::Replace(kind) => Some(example(kind)),
            Operation::Patch(_) => Some(json!({"metadata": {"labels": {"region": "west"}}})),
            Operation::Apply => Some(json!({"items": Kind::ALL.map(example)})),
            _ => None,
        };
        if let Some(example) = example {
            described["requestBody"]["content"][media]["example"] = example;
        }
    }
    described
}

/// Name for programs, sentence for people.
fn words(operation: Operation) -> (String, String) {
    let of =
        |verb: &str, kind: Kind, sentence: &str| (format!("{verb}{}", kind.name()), sentence.replace('#', kind.name()));
    let one = |id: &str, sentence: &str| (id.to_owned(), sentence.to_owned());
    match operation {
        Operation::List(kind) => of("list", kind, "Every # that is selected, by name"),
        Operation::Create(kind) => of("create", kind, "Write a # that there is not yet"),
        Operation::Get(kind) => of("get", kind, "One #"),
        Operation::Replace(kind) => of(
            "replace",
            kind,
            "Write a #, whether or not there is one; with `metadata.resourceVersion` only over that version",
        ),
        Operation::Patch(kind) => of("patch", kind, "Change fields of a # by a JSON merge patch (RFC 7396)"),
        Operation::Delete(kind) => of("delete", kind, "Delete a #; the answer is what it was"),
        Operation::Watch(kind) => of("watch", kind, "Changes of every # that is selected, one JSON document a line"),
        Operation::Apply => one("apply", "Write many objects as one: all are valid or none is written"),
        Operation::ListEvents => one("listEvents", "What has happened to objects, the oldest first"),
        Operation::WatchEvents => one("watchEvents", "What happens to objects, one JSON document a line"),
        Operation::ListPaths => one("listPaths", "Every way between a site and an anchor, as last reported"),
        Operation::ListNodes => one("listNodes", "Every node: connected or not, its plan, its last report"),
        Operation::GetNode => one("getNode", "One node"),
        Operation::GetNodeLog => {
            one("getNodeLog", "What a node's agent has logged since its start; asked of the agent itself")
        }
        Operation::GetPlan => one("getPlan", "The plan that is published for a node"),
        Operation::Healthz => one("healthz", "Whether the operator lives"),
        Operation::Readyz => one("readyz", "Whether the operator has read its store"),
        Operation::Version => one("version", "The operator's version"),
        Operation::OpenApi => one("openapi", "This document"),
    }
}

fn names(operation: Operation) -> Vec<Value> {
    let path = operation.path();
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let schema = json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"});
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect()
}

/// One parameter for each field of `Q`.
fn query<Q: JsonSchema>() -> Vec<Value> {
    let schema = self_contained::<Q>("");
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description")).unwrap_or_default();
        // Left out is the only null there is in a query.
        if let Some(types) = schema["type"].as_array() {
            let first = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
            schema["type"] = first;
        }
        let without = schema.as_object_mut().expect("a field's schema is an object");
        without.retain(|keyword, value| !(keyword == "default" && (value.is_null() || *value == json!(""))));
        json!({"name": name, "in": "query", "description": description, "schema": schema})
    };
    fields.into_iter().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let mut names = BTreeSet::new();
        for operation in Operation::all() {
            let described = &document()["paths"][operation.path()][operation.method().name()];
            assert!(names.insert(described["operationId"].as_str().unwrap().to_owned()), "{described}");
            assert!(!described["summary"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn the_example_of_every_kind_is_a_valid_object() {
        for kind in Kind::ALL {
            let object = crate::AnyObject::from_json(kind, &example(kind).to_string()).unwrap();
            assert_eq!(object.check(), [], "{kind}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(entries) => entries.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
    }
}
