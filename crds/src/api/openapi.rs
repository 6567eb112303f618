//! The API described as OpenAPI 3.1, from the types that are sent. Sessions of nodes are not part of it: they are between
//! an agent and its operator, and versioned by themselves.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{
    Applied, ApplyQuery, DeleteQuery, Event, EventQuery, Health, List, ListQuery, NodeState, Operation, PathState,
    Problem, Version, WatchLine, WatchQuery, WriteQuery,
};
use crate::plan::NodePlan;
use crate::{Kind, schema};

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
        Operation::GetPlan => one("getPlan", "The plan that is published for a node"),
        Operation::Healthz => one("healthz", "Whether the operator lives"),
        Operation::Readyz => one("readyz", "Whether the operator has read its store"),
        Operation::Version => one("version", "The operator's version"),
        Operation::OpenApi => one("openapi", "This document"),
    }
}

fn answers(operation: Operation) -> Value {
    let (status, sentence, media, schema) = match operation {
        Operation::List(kind) => (200, "the objects", JSON, reference(&format!("{}List", kind.name()))),
        Operation::Create(kind) => (201, "the object as written", JSON, reference(kind.name())),
        Operation::Get(kind) | Operation::Replace(kind) | Operation::Patch(kind) => {
            (200, "the object", JSON, reference(kind.name()))
        }
        Operation::Delete(kind) => (200, "what it was", JSON, reference(kind.name())),
        Operation::Watch(kind) => (200, "lines", LINES, reference(&format!("{}WatchLine", kind.name()))),
        Operation::Apply => (200, "what was done to each", JSON, reference("Applied")),
        Operation::ListEvents => (200, "the events", JSON, reference("EventList")),
        Operation::WatchEvents => (200, "lines", LINES, reference("EventWatchLine")),
        Operation::ListPaths => (200, "the paths", JSON, reference("PathList")),
        Operation::ListNodes => (200, "the nodes", JSON, reference("NodeList")),
        Operation::GetNode => (200, "the node", JSON, reference("NodeState")),
        Operation::GetPlan => (200, "the plan", JSON, reference("NodePlan")),
        Operation::Healthz | Operation::Readyz => (200, "it does", JSON, reference("Health")),
        Operation::Version => (200, "the version", JSON, reference("Version")),
        Operation::OpenApi => (200, "this document", JSON, json!({"type": "object"})),
    };
    let mut answers = Map::new();
    answers.insert(status.to_string(), json!({"description": sentence, "content": {media: {"schema": schema}}}));
    for status in refusals(operation) {
        answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    answers.into()
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// With which statuses it may be refused.
fn refusals(operation: Operation) -> Vec<u16> {
    if operation.is_open() {
        return if operation == Operation::Readyz { vec![503] } else { Vec::new() };
    }
    let mut refusals = vec![400, 403, 429, 503];
    match operation {
        Operation::Get(_) | Operation::GetNode | Operation::GetPlan => refusals.push(404),
        Operation::Create(_) | Operation::Replace(_) | Operation::Apply => refusals.extend([408, 409, 413, 422]),
        Operation::Patch(_) => refusals.extend([404, 408, 409, 413, 422]),
        Operation::Delete(_) => refusals.extend([404, 409]),
        Operation::Watch(_) | Operation::WatchEvents => refusals.push(410),
        _ => {}
    }
    refusals.sort_unstable();
    refusals
}

fn problems() -> Value {
    let problem = |(status, sentence): (u16, &str)| {
        let content = json!({"application/problem+json": {"schema": reference("Problem")}});
        (status.to_string(), json!({"description": sentence, "content": content}))
    };
    REFUSALS.into_iter().map(problem).collect::<Map<_, _>>().into()
}

const REFUSALS: [(u16, &str); 10] = [
    (400, "the request cannot be read"),
    (403, "not for whoever the certificate names"),
    (404, "there is no such thing"),
    (408, "the body took too long to come"),
    (409, "somebody else wrote it in between, or it is there already"),
    (410, "changes since then are not known any more: list again"),
    (413, "the body is too large"),
    (422, "an object is not valid; `errors` has all that is wrong"),
    (429, "too many requests; `Retry-After` says when to try again"),
    (503, "the store cannot be read or written now; try again"),
];

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

fn schemas() -> Value {
    let mut schemas = Map::new();
    for kind in Kind::ALL {
        let name = kind.name();
        schemas.insert(name.to_owned(), moved(schema::of_kind(kind).to_value(), name));
        schemas.insert(format!("{name}List"), list(reference(name)));
        schemas.insert(format!("{name}WatchLine"), line(reference(name)));
    }
    let any: Vec<Value> = Kind::ALL.iter().map(|kind| reference(kind.name())).collect();
    schemas.insert("Object".to_owned(), json!({"oneOf": any}));
    schemas.insert("ObjectList".to_owned(), given(list(reference("Object"))));
    schemas.insert("EventList".to_owned(), list(reference("Event")));
    schemas.insert("EventWatchLine".to_owned(), line(reference("Event")));
    schemas.insert("PathList".to_owned(), list(reference("PathState")));
    schemas.insert("NodeList".to_owned(), list(reference("NodeState")));
    for (name, schema) in [
        ("Applied", self_contained::<Applied>("Applied")),
        ("Event", self_contained::<Event>("Event")),
        ("PathState", self_contained::<PathState>("PathState")),
        ("NodeState", self_contained::<NodeState>("NodeState")),
        ("NodePlan", self_contained::<NodePlan>("NodePlan")),
        ("Health", self_contained::<Health>("Health")),
        ("Version", self_contained::<Version>("Version")),
        ("Problem", self_contained::<Problem>("Problem")),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    schemas.into()
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(of: Value) -> Value {
    let mut schema = self_contained::<List<Value>>("");
    schema["properties"]["items"] = json!({"type": "array", "items": of});
    schema.as_object_mut().expect("a list is an object").remove("title");
    schema
}

/// A list as the body of a request: no more of them than fit.
fn given(mut list: Value) -> Value {
    list["properties"] = json!({"items": list["properties"]["items"]});
    list
}

fn line(of: Value) -> Value {
    let mut schema = self_contained::<WatchLine<Value>>("");
    let fields = schema.as_object_mut().expect("a line is an object");
    fields.remove("title");
    fields.remove("$defs");
    schema["properties"]["type"] = json!({"enum": ["added", "modified", "deleted", "bookmark"]});
    schema["properties"]["object"] = of;
    schema
}

/// The schema of `T`; what it refers to is inside, found below the component `name`.
fn self_contained<T: JsonSchema>(name: &str) -> Value {
    moved(SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value(), name)
}

/// A document of its own as the component `name`.
fn moved(mut schema: Value, name: &str) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
    }
    lead(&mut schema, &format!("#/components/schemas/{name}/$defs/"));
    schema
}

/// Leads references to definitions to where these are now.
fn lead(value: &mut Value, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(definition) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{to}{definition}");
            }
            fields.values_mut().for_each(|value| lead(value, to));
        }
        Value::Array(entries) => entries.iter_mut().for_each(|value| lead(value, to)),
        _ => {}
    }
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
