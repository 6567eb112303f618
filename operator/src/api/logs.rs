//! What a node's agent has logged, as it says itself when it is asked.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::api::LogQuery;
use pathsteer_crds::{LOG_LINES, LogPage};

use super::{Problem, Query, Server, nodes};
use crate::session::Unanswered;

pub async fn of_node(
    State(server): State<Server>,
    Path(node): Path<String>,
    Query(LogQuery { tail, after }): Query<LogQuery>,
) -> Result<Json<LogPage>, Problem> {
    if tail.is_some_and(|tail| tail > LOG_LINES) {
        let detail = format!("tail is from 0 to {LOG_LINES}; left out, everything that the agent keeps is answered");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    server.mirror.read(|snapshot| nodes::role(snapshot, &node))?;
    let refused = |why| {
        let (status, advice) = match why {
            Unanswered::NotConnected => {
                (StatusCode::SERVICE_UNAVAILABLE, "read it on the node, or try again when it is connected")
            }
            Unanswered::Busy => (StatusCode::TOO_MANY_REQUESTS, "try again"),
            Unanswered::Silent => {
                (StatusCode::GATEWAY_TIMEOUT, "is its uplink slow or dead, or its agent older than this question?")
            }
        };
        Problem::new(status, format!("the log of {node} cannot be had: {why}; {advice}"))
    };
    server.questions.log(&node, after, tail).await.map(Json).map_err(refused)
}
