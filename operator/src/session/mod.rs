//! The session of a node: hello, plan stream, reports, and answers to what people ask of it.

mod connected;
mod hello;
mod log;
mod questions;
mod report;
mod stream;

pub use connected::Connected;
pub use questions::{Questions, Unanswered};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use pathsteer_crds::session::{HELLO_PATH, LOG_PATH, PLAN_PATH, REPORT_PATH};

use crate::api::Server;

/// Largest hello, report or answer taken, bytes. etcd's limit for a value is 1.5 MB.
const BODY_LIMIT: usize = 1 << 20;

/// The routes of a node's session.
pub fn routes() -> Router<Server> {
    Router::new()
        .route(HELLO_PATH, post(hello::hello))
        .route(PLAN_PATH, get(stream::plan))
        .route(REPORT_PATH, post(report::whole).patch(report::changes))
        .route(LOG_PATH, post(log::log))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}
