//! etcd by hand: whoever puts an object at its key has declared it.

use anyhow::{Context, Result, ensure};
use pathsteer_crds::{Kind, keys};
use pathsteer_lab::network::plan::EDGE;
use serde_json::Value;

use crate::kernel::shell;
use crate::stage::Stage;

const POLICY: &str = r#"{"apiVersion":"pathsteer.io/v1alpha1","kind":"TrafficPolicy","metadata":{"name":"by-hand"},
    "spec":{"match":[{"protocol":"udp","ports":["4501"]}],"steeringClass":"voice"}}"#;
const BROKEN: &str = r#"{"apiVersion":"pathsteer.io/v1alpha1","kind":"Uplink","metadata":{"site":"rv-07","name":"broken"},
    "spec":{"slot":9,"kind":"fiber","interface":"wan9"}}"#;

pub fn case(stage: &mut Stage) -> Result<()> {
    let (policy, broken) = (keys::spec(Kind::TrafficPolicy, "by-hand"), keys::spec(Kind::Uplink, "rv-07/broken"));

    let before = stage.report(EDGE)?.generation;
    stage.fleet.etcdctl(&["put", &policy, POLICY])?;
    stage.until("the policy is ready", |stage| {
        Ok(condition(stage, Kind::TrafficPolicy, "by-hand", "Ready")?.0 == "True")
    })?;
    ensure!(stage.fleet.cli(&["plan", EDGE])?.contains("4501"), "the plan does not have the policy");
    stage.until("the edge carries it out", |stage| {
        let report = stage.report(EDGE)?;
        Ok(report.verified && report.generation > before && table(stage)?.contains("4501"))
    })?;

    let root = stage.fleet.etcdctl(&["get", &keys::plan_root(EDGE)])?;
    stage.fleet.etcdctl(&["put", &broken, BROKEN])?;
    stage.until("the broken uplink is refused, with the reason", |stage| {
        let (admitted, reason) = condition(stage, Kind::Uplink, "rv-07/broken", "Admitted")?;
        let (ready, _) = condition(stage, Kind::Uplink, "rv-07/broken", "Ready")?;
        Ok([&*admitted, &*ready] == ["False", "False"] && reason.contains("slots are 1 to 8"))
    })?;
    ensure!(stage.fleet.etcdctl(&["get", &keys::plan_root(EDGE)])? == root, "a broken object has changed the plan");

    for key in [&policy, &broken] {
        stage.fleet.etcdctl(&["del", key])?;
    }
    stage.until("the policy is gone from the plan and from the edge", |stage| {
        Ok(!stage.fleet.cli(&["plan", EDGE])?.contains("4501") && !table(stage)?.contains("4501"))
    })?;
    for key in [keys::status(Kind::TrafficPolicy, "by-hand"), keys::status(Kind::Uplink, "rv-07/broken")] {
        stage.until("nothing is said about it any more", |stage| {
            Ok(stage.fleet.etcdctl(&["get", &key])?.trim().is_empty())
        })?;
    }
    Ok(())
}

/// Status and message of the condition `word` of an object, as the store has it.
fn condition(stage: &Stage, kind: Kind, key: &str, word: &str) -> Result<(String, String)> {
    let json = stage.fleet.etcdctl(&["get", "--print-value-only", &keys::status(kind, key)])?;
    let status: Value = serde_json::from_str(&json).with_context(|| format!("{kind} {key} has no status"))?;
    let conditions = status["conditions"].as_array().context("a status without conditions")?;
    let found = conditions.iter().find(|condition| condition["type"] == word);
    let found = found.with_context(|| format!("{kind} {key} has no condition {word}"))?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("message")))
}

fn table(stage: &Stage) -> Result<String> {
    shell(stage.edge(), "psvip", "nft list table inet pathsteer")
}
