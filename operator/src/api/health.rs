//! Whether the operator lives, and whether it works.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Problem, Server};

pub async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready once the store was read completely.
pub async fn readyz(State(server): State<Server>) -> Result<Json<Value>, Problem> {
    match server.mirror.revision() {
        0 => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store has not been read yet")),
        revision => Ok(Json(json!({"status": "ok", "resourceVersion": revision}))),
    }
}

pub async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
