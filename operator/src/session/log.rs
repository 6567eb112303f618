//! What an agent answers about its log.

use axum::extract::State;
use axum::http::StatusCode;
use pathsteer_crds::session::LogAnswer;

use crate::api::{Body, NodeName, Server};

pub async fn log(NodeName(node): NodeName, State(server): State<Server>, Body(answer): Body<LogAnswer>) -> StatusCode {
    server.questions.answered(&node, answer);
    StatusCode::NO_CONTENT
}
