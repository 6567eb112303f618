//! The API: JSON over HTTPS with client certificates. Users may use everything but the session, nodes only their own
//! session.

mod apply;
mod extract;
mod health;
mod listener;
mod nodes;
mod objects;
mod peer;
mod plans;
mod problem;
mod prune;
mod stored;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use crate::session::{self, Connected};
use crate::store::{Health, Mirror, Writer};
pub use extract::{Body, Query};
pub use listener::{ListenError, Listener};
pub use peer::{NodeName, Peer};
pub use problem::Problem;

/// Largest apply taken, bytes: some ten thousand objects.
const BODY_LIMIT: usize = 32 << 20;

/// What every request may use.
#[derive(Clone)]
pub struct Server {
    pub mirror: Arc<Mirror>,
    pub writer: Writer,
    pub connected: Arc<Connected>,
    pub health: Arc<Health>,
    /// The operator is ending: streams end too.
    pub ending: CancellationToken,
}

/// Every route of the API.
pub fn router(server: Server) -> Router {
    let open = Router::new()
        .route("/v1/healthz", get(health::healthz))
        .route("/v1/readyz", get(health::readyz))
        .route("/v1/version", get(health::version));
    let users = Router::new()
        .route("/v1/apply", post(apply::apply))
        .route("/v1/plans/{node}", get(plans::plan))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/nodes/{node}", get(nodes::one))
        .route("/v1/{plural}", get(objects::list))
        .route("/v1/{plural}/{first}", get(objects::get).put(objects::put).delete(objects::delete))
        .route("/v1/{plural}/{first}/{second}", get(objects::get).put(objects::put).delete(objects::delete))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .route_layer(from_fn(peer::users_only));
    users
        .merge(session::routes())
        // Before the store was read there is nothing to answer with: an empty list would be a lie.
        .route_layer(from_fn_with_state(server.clone(), health::once_ready))
        .merge(open)
        .fallback(async |uri: Uri| Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path())))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
        })
        .with_state(server)
}
