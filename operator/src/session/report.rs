//! What an agent reports: the whole of it, or what has changed since. Stored as it is.

use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::{canonical, keys, merge_patch};
use serde_json::Value;

use crate::api::{Body, NodeName, Problem, Server};
use crate::store::Write;

/// How long a report waits until the operator itself sees it in the store. It must: the next one says what changed since.
const ECHO: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes the whole of a report. The answer's `ETag` names it.
pub async fn whole(
    NodeName(node): NodeName,
    State(server): State<Server>,
    Body(report): Body<NodeReport>,
) -> Result<impl IntoResponse, Problem> {
    keep(&server, &node, report).await
}

/// Takes what changed since the report that `If-Match` names, as a JSON merge patch. 412 if that is not the last one.
pub async fn changes(
    NodeName(node): NodeName,
    State(server): State<Server>,
    headers: HeaderMap,
    Body(patch): Body<Value>,
) -> Result<impl IntoResponse, Problem> {
    let base = headers.get(IF_MATCH).and_then(|base| base.to_str().ok());
    let stored = server.mirror.get(&keys::report(&node)).filter(|entry| Some(&*name(&entry.value)) == base);
    let Some(stored) = stored else {
        let detail = "this is no change of the last report that the operator has: post the whole one";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
    };
    let unreadable =
        |error| Problem::new(StatusCode::BAD_REQUEST, format!("the changed report cannot be read: {error}"));
    let stored: Value = serde_json::from_str(&stored.value).map_err(unreadable)?;
    let report = serde_json::from_value(merge_patch::apply(stored, patch)).map_err(unreadable)?;
    keep(&server, &node, report).await
}

async fn keep(server: &Server, node: &str, report: NodeReport) -> Result<impl IntoResponse + use<>, Problem> {
    if report.node != node {
        let detail =
            format!("this certificate is {node}'s, the report is {}'s: a node reports for itself", report.node);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    server.connected.report_came(node);
    let json = canonical::to_json(&report);
    let name = name(&json);
    let key = keys::report(node);
    if server.mirror.get(&key).is_none_or(|entry| *entry.value != json) {
        let revision = server.writer.commit(vec![Write::put(key, json)]).await?;
        server.mirror.reached(revision, ECHO).await;
    }
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(ETAG, name)])))
}

/// The entity tag of a stored report.
fn name(json: &str) -> String {
    format!("\"{}\"", &canonical::sha256(json.as_bytes())[..16])
}
