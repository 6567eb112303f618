//! What an agent reports, stored as it is.

use axum::extract::State;
use axum::http::StatusCode;
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::{canonical, keys};

use crate::api::{Body, NodeName, Problem, Server};
use crate::store::Write;

pub async fn report(
    NodeName(node): NodeName,
    State(server): State<Server>,
    Body(report): Body<NodeReport>,
) -> Result<StatusCode, Problem> {
    if report.node != node {
        let detail =
            format!("this certificate is {node}'s, the report is {}'s: a node reports for itself", report.node);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    server.connected.report_came(&node);
    let json = canonical::to_json(&report);
    let key = keys::report(&node);
    if server.mirror.get(&key).is_none_or(|entry| *entry.value != json) {
        server.writer.commit(vec![Write::put(key, json)]).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
