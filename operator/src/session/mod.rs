//! The session of a node: hello, plan stream, reports.

mod connected;
mod hello;
mod report;
mod stream;

pub use connected::Connected;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use pathsteer_crds::session::{HELLO_PATH, PLAN_PATH, REPORT_PATH};

use crate::api::Server;

/// Largest hello or report taken, bytes. etcd's limit for a value is 1.5 MB.
const BODY_LIMIT: usize = 1 << 20;

/// The routes of a node's session.
pub fn routes() -> Router<Server> {
    Router::new()
        .route(HELLO_PATH, post(hello::hello))
        .route(PLAN_PATH, get(stream::plan))
        .route(REPORT_PATH, post(report::whole).patch(report::changes))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}
