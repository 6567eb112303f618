//! The first word of an agent: what it can read, which plan it has, and its public keys.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::plan::PLAN_VERSION;
use pathsteer_crds::session::Hello;
use pathsteer_crds::{canonical, keys};
use tracing::info;

use crate::api::{Body, NodeName, Problem, Server};
use crate::controller::epoch;
use crate::store::Write;

pub async fn hello(
    NodeName(node): NodeName,
    State(server): State<Server>,
    Body(hello): Body<Hello>,
) -> Result<Json<serde_json::Value>, Problem> {
    if !hello.plan_versions.contains(&PLAN_VERSION) {
        let detail = format!(
            "this operator writes plans of version {PLAN_VERSION}, agent {} reads {:?}: upgrade the older of the two",
            hello.agent_version, hello.plan_versions
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    check_keys(&hello.identity)?;
    epoch::learn(&server.writer, &node, &hello).await?;
    server.connected.has(&node, (hello.store_epoch, hello.generation));
    server.connected.wish(&node, hello.heartbeat_seconds);
    let json = canonical::to_json(&hello.identity);
    let key = keys::identity(&node);
    if server.mirror.get(&key).is_none_or(|entry| *entry.value != json) {
        info!(node, "identity stored");
        server.writer.commit(vec![Write::put(key, json)]).await?;
    }
    info!(node, agent = hello.agent_version, epoch = hello.store_epoch, generation = hello.generation, "hello");
    Ok(Json(serde_json::json!({})))
}

fn check_keys(identity: &NodeIdentity) -> Result<(), Problem> {
    for (slot, key) in &identity.wireguard_keys {
        let sound = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 32);
        if !(1..=8).contains(slot) || !sound {
            let detail = format!("wireguardKeys: `{slot}: {key}` is not a slot from 1 to 8 and 32 bytes in base64");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
    }
    Ok(())
}
