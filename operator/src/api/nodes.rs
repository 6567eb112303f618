//! Nodes as they are: connected or not, which plan is theirs, what they report.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::api::{List, NodeState, PublishedPlan};
use pathsteer_crds::plan::Role;
use pathsteer_crds::{Kind, keys, manifest};

use super::{Problem, Server, stored};
use crate::controller;
use crate::store::Snapshot;

pub async fn list(State(server): State<Server>) -> Json<List<NodeState>> {
    Json(server.mirror.read(|snapshot| {
        let mut nodes: Vec<(String, Role)> = Vec::new();
        for (kind, role) in [(Kind::Site, Role::Edge), (Kind::Anchor, Role::Anchor)] {
            nodes.extend(stored::keys_of(snapshot, kind).into_iter().map(|node| (node, role)));
        }
        nodes.sort();
        let items = nodes.into_iter().map(|(node, role)| state(&server, snapshot, node, role)).collect();
        List { items, resource_version: Some(snapshot.revision), next: None }
    }))
}

pub async fn one(State(server): State<Server>, Path(node): Path<String>) -> Result<Json<NodeState>, Problem> {
    server.mirror.read(|snapshot| {
        let role = role(snapshot, &node)?;
        Ok(Json(state(&server, snapshot, node, role)))
    })
}

/// Which Site or Anchor `node` is; a refusal if it is none.
pub fn role(snapshot: &Snapshot, node: &str) -> Result<Role, Problem> {
    let declared = |kind| snapshot.get(&keys::spec(kind, node)).is_some();
    match (declared(Kind::Site), declared(Kind::Anchor)) {
        (true, _) => Ok(Role::Edge),
        (_, true) => Ok(Role::Anchor),
        _ => Err(no_node(snapshot, node)),
    }
}

fn no_node(snapshot: &Snapshot, node: &str) -> Problem {
    let names = [Kind::Site, Kind::Anchor].map(|kind| stored::keys_of(snapshot, kind)).concat();
    let fix = match manifest::nearest(node, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "no Site or Anchor has that name".to_owned(),
    };
    Problem::new(StatusCode::NOT_FOUND, format!("there is no node `{node}`: {fix}"))
}

fn state(server: &Server, snapshot: &Snapshot, name: String, role: Role) -> NodeState {
    let report = snapshot.get(&keys::report(&name)).and_then(|entry| serde_json::from_str(&entry.value).ok());
    let plan = controller::root(snapshot, &name)
        .map(|(_, root)| PublishedPlan { store_epoch: root.store_epoch, generation: root.generation });
    NodeState {
        role,
        connected: server.connected.contains(&name),
        plan,
        report,
        reported_at: server.connected.reported_at(&name),
        name,
    }
}
