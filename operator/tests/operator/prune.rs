//! A directory of manifests as all that a source declares.

use serde_json::{Value, json};

use crate::objects;
use crate::rig::Rig;

fn modes(names: &[&str]) -> Value {
    json!({"items": names.iter().map(|name| objects::mode(name, 1)).collect::<Vec<_>>()})
}

fn names(rig: &Rig) -> Vec<String> {
    let (_, list) = rig.user().get("/v1/modes");
    let name = |mode: &Value| mode["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(name).collect()
}

const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn what_a_source_declares_no_longer_is_deleted_and_nothing_of_anybody_else() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", modes(&["by-hand"])).0, 200);
    assert_eq!(user.post("/v1/apply?prune=lab", modes(&["of-lab"])).0, 200);
    assert_eq!(user.post("/v1/apply?prune=fleet", modes(&ALL)).0, 200);
    assert_eq!(user.get("/v1/modes/a").1["metadata"]["labels"]["pathsteer.io/source"], "fleet");

    let (status, dry) = user.post("/v1/apply?prune=fleet&dryRun=true", modes(&ALL[1..]));
    assert_eq!((status, names(&rig).len()), (200, 7), "a dry run deletes nothing");
    let (status, applied) = user.post("/v1/apply?prune=fleet", modes(&ALL[1..]));
    assert_eq!((status, &applied["results"]), (200, &dry["results"]));
    let last = applied["results"].as_array().unwrap().last().unwrap();
    assert_eq!(*last, json!({"kind": "Mode", "name": "a", "outcome": "deleted"}));
    assert_eq!(names(&rig), ["b", "by-hand", "c", "d", "e", "of-lab"]);
}

#[test]
fn a_mass_deletion_has_to_be_confirmed() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply?prune=fleet", modes(&ALL)).0, 200);
    let (status, problem) = user.post("/v1/apply?prune=fleet", modes(&["a", "b", "c", "new"]));
    assert_eq!(status, 422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
    assert_eq!(problem["errors"][0], json!({"object": "Mode d", "field": "", "message": "2 of 5 would be deleted"}));
    assert_eq!(names(&rig), ALL, "nothing was written either");
    assert_eq!(user.post("/v1/apply?prune=fleet&confirmPrune=true", modes(&["a", "b", "c", "new"])).0, 200);
    assert_eq!(names(&rig), ["a", "b", "c", "new"]);
}

#[test]
fn an_object_has_one_source() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply?prune=fleet", modes(&["a"])).0, 200);
    let (status, problem) = user.post("/v1/apply?prune=lab", modes(&["a", "b"]));
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("source `fleet`, not `lab`"), "{problem}");
    assert_eq!(names(&rig), ["a"]);
}
