//! Whether the operator lives, and whether it works.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use pathsteer_crds::api::{Health, Version, openapi};
use serde_json::Value;

use super::{Problem, Server};

pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned(), resource_version: None, warnings: Vec::new() })
}

/// How long a request waits for the store to be read: longer than a private etcd takes to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets requests pass once the store was read completely.
pub async fn once_ready(State(server): State<Server>, request: Request, next: Next) -> Result<Response, Problem> {
    if server.mirror.reached(1, PATIENCE).await { Ok(next.run(request).await) } else { Err(unread()) }
}

/// Ready once the store was read completely.
pub async fn readyz(State(server): State<Server>) -> Result<Json<Health>, Problem> {
    match server.mirror.revision() {
        0 => Err(unread()),
        revision => {
            let warnings = server.health.warnings();
            Ok(Json(Health { status: "ok".to_owned(), resource_version: Some(revision), warnings }))
        }
    }
}

pub async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}

pub async fn openapi() -> Json<Value> {
    Json(openapi::document())
}

fn unread() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store has not been read yet: does etcd run? try again")
}
