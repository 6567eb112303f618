//! Writing through the API.

use serde_json::{Value, json};

use crate::objects;
use crate::rig::Rig;

fn outcomes(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|result| result["outcome"].as_str().unwrap()).collect()
}

#[test]
fn apply_says_for_each_object_whether_it_was_created_configured_or_unchanged() {
    let rig = Rig::start();
    let user = rig.user();
    let (status, dry) = user.post("/v1/apply?dryRun=true", objects::all());
    assert_eq!((status, outcomes(&dry)), (200, vec!["created"; 4]));
    assert_eq!(user.get("/v1/sites").1["items"], json!([]), "a dry run writes nothing");
    let (status, created) = user.post("/v1/apply", objects::all());
    assert_eq!((status, outcomes(&created)), (200, vec!["created"; 4]));
    assert_eq!(created["results"][0], json!({"kind": "Uplink", "name": "rv-07/fiber", "outcome": "created"}));
    let mut changed = objects::all();
    changed["items"][0]["spec"]["cost"] = json!(7);
    let (_, applied) = user.post("/v1/apply", changed);
    assert_eq!(outcomes(&applied), ["configured", "unchanged", "unchanged", "unchanged"]);
    assert_eq!(user.get("/v1/uplinks/rv-07/fiber").1["spec"]["cost"], 7);
}

#[test]
fn one_invalid_object_keeps_all_others_from_being_written() {
    let rig = Rig::start();
    let user = rig.user();
    let mut items = objects::all();
    items["items"][0]["spec"]["slot"] = json!(9);
    items["items"][1]["spec"]["anchor"] = json!("dal-a");
    let (status, problem) = user.post("/v1/apply", items);
    assert_eq!(status, 422);
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{problem}");
    assert_eq!(errors[0]["object"], "Uplink rv-07/fiber");
    assert_eq!(errors[0]["field"], "spec.slot");
    for plural in ["uplinks", "sites", "anchors", "fabrics"] {
        assert_eq!(user.get(&format!("/v1/{plural}")).1["items"], json!([]));
    }
}

#[test]
fn a_write_that_depends_on_an_old_version_is_a_conflict() {
    let rig = Rig::start();
    let user = rig.user();
    let path = "/v1/modes/fleet";
    let (status, first) = user.put(path, objects::mode("fleet", 1));
    assert_eq!(status, 200);
    let mut second = first.clone();
    second["spec"]["copies"] = json!(2);
    assert_eq!(user.put(path, second).0, 200, "the version read is the newest");
    let mut third = first;
    third["spec"]["copies"] = json!(3);
    let (status, problem) = user.put(path, third.clone());
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("resourceVersion"), "{problem}");
    assert_eq!(user.post("/v1/apply", json!({"items": [third]})).0, 409);
    assert_eq!(user.get(path).1["spec"]["copies"], 2);
}

#[test]
fn an_object_is_put_and_deleted_under_its_own_name_only() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.put("/v1/modes/other", objects::mode("fleet", 1)).0, 422);
    assert_eq!(user.put("/v1/sites/fleet", objects::mode("fleet", 1)).0, 422);
    assert_eq!(user.put("/v1/modes/fleet", objects::mode("fleet", 1)).0, 200);
    let (status, gone) = user.delete("/v1/modes/fleet");
    assert_eq!((status, &gone["metadata"]["name"]), (200, &json!("fleet")));
    assert_eq!(user.delete("/v1/modes/fleet").0, 404);
    assert_eq!(user.get("/v1/modes/fleet").0, 404);
    assert_eq!(user.get("/v1/uplinks/fiber").0, 404);
    assert_eq!(user.post("/v1/modes/fleet", json!({})).0, 405);
}

#[test]
fn a_site_as_large_as_several_transactions_is_applied_whole() {
    let rig = Rig::start();
    let user = rig.user();
    let items: Vec<_> = (0..250).map(|n| objects::mode(&format!("m{n:03}"), 1)).collect();
    let (status, applied) = user.post("/v1/apply", json!({"items": items}));
    assert_eq!((status, outcomes(&applied).len()), (200, 250));
    assert_eq!(user.get("/v1/modes").1["items"].as_array().unwrap().len(), 250);
}
