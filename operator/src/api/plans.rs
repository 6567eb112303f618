//! The plan of a node, assembled.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::keys;
use pathsteer_crds::plan::{NodePlan, assemble};

use super::{Problem, Server};
use crate::controller;

pub async fn plan(State(server): State<Server>, Path(node): Path<String>) -> Result<Json<NodePlan>, Problem> {
    let (root, by_hash) = server.mirror.read(|snapshot| {
        let folder = keys::plan_fragment(&node, "");
        let fragments = snapshot.below(&folder);
        let fragments: BTreeMap<_, _> =
            fragments.map(|(key, entry)| (key[folder.len()..].to_owned(), entry.value.to_string())).collect();
        (controller::root(snapshot, &node), fragments)
    });
    let Some((_, root)) = root else {
        let detail =
            format!("there is no plan for `{node}`: is there a Site or Anchor of that name, and is it admitted?");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let plan = assemble(&root, &by_hash)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the plan is damaged: {error}")))?;
    Ok(Json(plan))
}
