//! Nodes as they are: connected or not, which plan is theirs, what they report.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::api::{List, NodeState, PublishedPlan};
use pathsteer_crds::plan::Role;
use pathsteer_crds::{Kind, keys};

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
    let found = server.mirror.read(|snapshot| {
        let declared = |kind| snapshot.get(&keys::spec(kind, &node)).is_some();
        let role = match (declared(Kind::Site), declared(Kind::Anchor)) {
            (true, _) => Role::Edge,
            (_, true) => Role::Anchor,
            _ => return None,
        };
        Some(state(&server, snapshot, node.clone(), role))
    });
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no node `{node}`: no Site or Anchor has that name"))
    })
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
