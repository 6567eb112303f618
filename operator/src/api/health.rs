//! Whether the operator lives, and whether it works.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Problem, Server};

pub async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// How long a request waits for the store to be read: longer than a private etcd takes to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets requests pass once the store was read completely.
pub async fn once_ready(State(server): State<Server>, request: Request, next: Next) -> Result<Response, Problem> {
    if server.mirror.reached(1, PATIENCE).await { Ok(next.run(request).await) } else { Err(unread()) }
}

/// Ready once the store was read completely. `warnings` says what a person should look at although all goes on.
pub async fn readyz(State(server): State<Server>) -> Result<Json<Value>, Problem> {
    match server.mirror.revision() {
        0 => Err(unread()),
        revision => {
            let warnings = server.health.warnings();
            Ok(Json(json!({"status": "ok", "resourceVersion": revision, "warnings": warnings})))
        }
    }
}

pub async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

fn unread() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store has not been read yet: does etcd run? try again")
}
