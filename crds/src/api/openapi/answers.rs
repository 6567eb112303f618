//! What each operation may be answered with.

use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::words;
use crate::Kind;
use crate::api::Operation;

pub fn answers(operation: Operation) -> Value {
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
        Operation::GetNodeLog => (200, "the lines", JSON, reference("LogPage")),
        Operation::GetPlan => (200, "the plan", JSON, reference("NodePlan")),
        Operation::Healthz | Operation::Readyz => (200, "it does", JSON, reference("Health")),
        Operation::Version => (200, "the version", JSON, reference("Version")),
        Operation::OpenApi => (200, "this document", JSON, json!({"type": "object"})),
    };
    let mut answers = Map::new();
    let mut answer = json!({"description": sentence, "content": {media: {"schema": schema}}});
    if let Operation::Create(kind) = operation {
        answer["links"] = links(kind);
    }
    answers.insert(status.to_string(), answer);
    for status in refusals(operation) {
        answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    answers.into()
}

/// What may be asked about an object that was created.
fn links(kind: Kind) -> Value {
    let of_body = |field: &str| format!("$response.body#/metadata/{field}");
    let mut parameters = json!({"name": of_body("name")});
    if kind.is_sited() {
        parameters["site"] = of_body("site").into();
    }
    let link = |operation: Operation| {
        (operation.method().name().to_owned(), { json!({"operationId": words(operation).0, "parameters": parameters}) })
    };
    [Operation::Get(kind), Operation::Patch(kind), Operation::Delete(kind)]
        .map(link)
        .into_iter()
        .collect::<Map<_, _>>()
        .into()
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
        Operation::GetNodeLog => refusals.extend([404, 504]),
        Operation::Create(_) | Operation::Replace(_) | Operation::Apply => refusals.extend([408, 409, 413, 422]),
        Operation::Patch(_) => refusals.extend([404, 408, 409, 413, 422]),
        Operation::Delete(_) => refusals.extend([404, 409]),
        Operation::Watch(_) | Operation::WatchEvents => refusals.push(410),
        _ => {}
    }
    refusals.sort_unstable();
    refusals
}

pub fn problems() -> Value {
    let problem = |(status, sentence): (u16, &str)| {
        let content = json!({"application/problem+json": {"schema": reference("Problem")}});
        (status.to_string(), json!({"description": sentence, "content": content}))
    };
    REFUSALS.into_iter().map(problem).collect::<Map<_, _>>().into()
}

const REFUSALS: [(u16, &str); 11] = [
    (400, "the request cannot be read"),
    (403, "not for whoever the certificate names"),
    (404, "there is no such thing"),
    (408, "the body took too long to come"),
    (409, "somebody else wrote it in between, or it is there already"),
    (410, "changes since then are not known any more: list again"),
    (413, "the body is too large"),
    (422, "an object is not valid; `errors` has all that is wrong"),
    (429, "too many requests; `Retry-After` says when to try again"),
    (503, "the store cannot be read or written now, or the node is not connected; try again"),
    (504, "the node does not answer"),
];
