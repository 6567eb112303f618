//! Watches as a client sees them.

use serde_json::{Value, json};

use crate::client::Lines;
use crate::objects;
use crate::rig::Rig;

/// The next line that is no bookmark: its type, the object's name, where to go on.
fn next(lines: &mut Lines) -> (String, String, i64) {
    let line = lines.find(|line| line["type"] != "bookmark").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&line["type"]), text(&line["object"]["metadata"]["name"]), line["resourceVersion"].as_i64().unwrap())
}

fn said(lines: &mut Lines) -> (String, String) {
    let (change, name, _) = next(lines);
    (change, name)
}

fn pair(change: &str, name: &str) -> (String, String) {
    (change.to_owned(), name.to_owned())
}

#[test]
fn a_watch_tells_what_is_there_then_what_changes_and_goes_on_where_it_ended() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.put("/v1/modes/a", objects::mode("a", 1)).0, 200);
    let mut lines = rig.user().lines("/v1/watch/modes");
    assert_eq!(said(&mut lines), pair("added", "a"));
    rig.etcdctl(&["put", "/pathsteer/v1/spec/modes/b", &objects::mode("b", 1).to_string()]);
    // The status of the first comes in between, as the change it is.
    while said(&mut lines) != pair("added", "b") {}
    assert_eq!(user.delete("/v1/modes/a").0, 200);
    let (_, _, until) = loop {
        let line = next(&mut lines);
        if line.0 == "deleted" {
            assert_eq!(line.1, "a");
            break line;
        }
    };
    drop(lines);
    assert_eq!(user.delete("/v1/modes/b").0, 200);
    assert_eq!(user.put("/v1/modes/c", objects::mode("c", 1)).0, 200);
    let mut lines = rig.user().lines(&format!("/v1/watch/modes?resourceVersion={until}"));
    let mut seen = Vec::new();
    while !seen.contains(&pair("added", "c")) {
        seen.push(said(&mut lines));
    }
    assert!(seen.contains(&pair("deleted", "b")), "{seen:?}");
    assert!(!seen.iter().any(|(_, name)| name == "a"), "{seen:?}");
    let (status, problem) = user.get("/v1/watch/modes?resourceVersion=999999999");
    assert_eq!(status, 410, "{problem}");
}

#[test]
fn a_watch_of_selected_objects_says_when_one_is_selected_no_longer() {
    let rig = Rig::start();
    let user = rig.user();
    let mut lines = rig.user().lines("/v1/watch/modes?fieldSelector=spec.copies%3D1");
    assert_eq!(user.put("/v1/modes/b", objects::mode("b", 2)).0, 200);
    assert_eq!(user.put("/v1/modes/a", objects::mode("a", 1)).0, 200);
    assert_eq!(said(&mut lines), pair("added", "a"));
    assert_eq!(user.patch("/v1/modes/a", json!({"spec": {"copies": 3}})).0, 200);
    while said(&mut lines) != pair("deleted", "a") {}
}
