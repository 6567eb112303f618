//! The API: JSON over HTTPS with client certificates. Users may use everything but the session, nodes only their own
//! session.

mod apply;
mod change;
mod events;
mod extract;
mod health;
mod limits;
mod listener;
mod logs;
mod nodes;
mod objects;
mod paths;
mod peer;
mod plans;
mod problem;
mod prune;
mod stored;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use pathsteer_crds::Kind;
use pathsteer_crds::api::Operation;
use tokio_util::sync::CancellationToken;

use crate::session::{self, Connected, Questions};
use crate::store::{Health, Mirror, Writer};
pub use extract::{Body, Query};
use limits::Limits;
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
    pub questions: Arc<Questions>,
    pub limits: Arc<Limits>,
    pub health: Arc<Health>,
    /// The operator is ending: streams end too.
    pub ending: CancellationToken,
}

/// Every route of the API.
pub fn router(server: Server) -> Router {
    let (open, users): (Vec<_>, Vec<_>) = Operation::all().into_iter().partition(|operation| operation.is_open());
    let routes = |operations: Vec<Operation>| {
        let add = |router: Router<Server>, operation: Operation| router.route(&operation.path(), handler(operation));
        operations.into_iter().fold(Router::new(), add)
    };
    let users = routes(users)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .route_layer(from_fn_with_state(server.clone(), limits::by_rate))
        .route_layer(from_fn(peer::users_only));
    users
        .merge(session::routes())
        // Before the store was read there is nothing to answer with: an empty list would be a lie.
        .route_layer(from_fn_with_state(server.clone(), health::once_ready))
        .merge(routes(open))
        .fallback(nothing)
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
        })
        .with_state(server)
}

fn handler(operation: Operation) -> MethodRouter<Server> {
    match operation {
        Operation::List(kind) => get(async move |State(server), Query(query)| objects::list(kind, server, query).await),
        Operation::Create(kind) => {
            post(async move |server, query, body| objects::create(kind, server, query, body).await)
        }
        Operation::Get(kind) => get(async move |server, names| objects::get(kind, server, names).await),
        Operation::Replace(kind) => {
            put(async move |server, names, query, body| objects::replace(kind, server, names, query, body).await)
        }
        Operation::Patch(kind) => {
            patch(async move |server, names, query, body| objects::patch(kind, server, names, query, body).await)
        }
        Operation::Delete(kind) => {
            delete(async move |server, names, query| objects::delete(kind, server, names, query).await)
        }
        Operation::Watch(kind) => {
            get(async move |State(server), stream, Query(query)| watch::watch(kind, server, stream, query).await)
        }
        Operation::Apply => post(apply::apply),
        Operation::ListEvents => get(events::list),
        Operation::WatchEvents => get(events::watch),
        Operation::ListPaths => get(paths::list),
        Operation::ListNodes => get(nodes::list),
        Operation::GetNode => get(nodes::one),
        Operation::GetNodeLog => get(logs::of_node),
        Operation::GetPlan => get(plans::plan),
        Operation::Healthz => get(health::healthz),
        Operation::Readyz => get(health::readyz),
        Operation::Version => get(health::version),
        Operation::OpenApi => get(health::openapi),
    }
}

async fn nothing(uri: Uri) -> Problem {
    let path = uri.path();
    let mut parts = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    let plural = parts.next().unwrap_or_default();
    let detail = match Kind::ALL.into_iter().find(|kind| kind.plural() == plural) {
        Some(kind) => format!("there is nothing at {path}: a {kind} is found at {}", Operation::Get(kind).path()),
        None => {
            let known = Kind::ALL.map(Kind::plural).join(", ");
            format!("there is nothing at {path}: kinds are {known}; /v1/openapi.json has the rest")
        }
    };
    Problem::new(StatusCode::NOT_FOUND, detail)
}
