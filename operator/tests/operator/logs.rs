//! What agents have logged, asked of them through the operator.

use std::thread;

use serde_json::{Value, json};

use crate::client::Lines;
use crate::node::Node;
use crate::objects;
use crate::rig::Rig;

const PATH: &str = "/v1/nodes/rv-07/logs";

fn asked(lines: &mut Lines) -> Value {
    lines.find(|event| event["type"] == "log").unwrap()
}

fn page(message: &str) -> Value {
    let line =
        json!({"sequence": 41, "time": "2026-12-01T08:00:00.000Z", "level": "warn", "target": "t", "message": message});
    json!({"lines": [line], "next": "00000000000000ff-41", "more": false, "missed": 0})
}

#[test]
fn a_connected_node_is_asked_for_just_what_is_wanted_and_its_answer_is_stored_nowhere() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    let (client, mut lines) = (edge.client(&rig), edge.stream(&rig, 0));
    for (query, after, tail) in [
        ("", Value::Null, Value::Null),
        ("?tail=0", Value::Null, json!(0)),
        ("?tail=7&after=00000000000000ff-40", json!("00000000000000ff-40"), json!(7)),
    ] {
        let (status, answer) = thread::scope(|scope| {
            let answer = scope.spawn(|| user.get(&format!("{PATH}{query}")));
            let question = asked(&mut lines);
            assert_eq!((&question["after"], &question["tail"]), (&after, &tail), "{question}");
            let said = json!({"request": question["request"], "page": page("only here")});
            assert_eq!(client.post("/v1/session/log", said).0, 204);
            answer.join().unwrap()
        });
        assert_eq!((status, answer), (200, page("only here")), "{query}");
    }
    let store = rig.etcdctl(&["get", "--prefix", ""]);
    assert!(store.contains("rv-07") && !store.contains("only here"), "{store}");
    let late = json!({"request": 1, "page": page("too late")});
    assert_eq!(client.post("/v1/session/log", late).0, 204, "nobody waits, and that is nothing to complain about");
}

#[test]
fn the_answer_is_taken_from_the_node_that_was_asked_alone() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (edge, other) = (Node::edge(), Node::anchor());
    let (mut lines, client, stranger) = (edge.stream(&rig, 0), edge.client(&rig), other.client(&rig));
    let (status, answer) = thread::scope(|scope| {
        let answer = scope.spawn(|| user.get(PATH));
        let request = asked(&mut lines)["request"].clone();
        for (client, message) in [(&stranger, "a lie"), (&client, "the truth")] {
            assert_eq!(client.post("/v1/session/log", json!({"request": request, "page": page(message)})).0, 204);
        }
        answer.join().unwrap()
    });
    assert_eq!((status, answer), (200, page("the truth")));
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let refused = |path: &str, status: u16, words: &[&str]| {
        let (code, problem) = user.get(path);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(code == status && words.iter().all(|word| detail.contains(word)), "{path}: {code} {problem}");
    };
    refused("/v1/nodes/rv-70/logs", 404, &["no node `rv-70`", "did you mean `rv-07`?"]);
    refused("/v1/nodes/nobody-at-all/logs", 404, &["no Site or Anchor has that name"]);
    refused(PATH, 503, &["rv-07", "not connected"]);
    for query in ["tail=1001", "tail=-1", "after=7", "after=", "since=1h"] {
        refused(&format!("{PATH}?{query}"), 400, &[]);
    }
    let mut lines = Node::edge().stream(&rig, 0);
    assert_eq!(lines.next().unwrap()["type"], "fragment");
    // Its agent knows no such question, or its uplink has died.
    refused(PATH, 504, &["rv-07", "10 s", "older"]);
    drop(lines);
    crate::rig::eventually("it is not connected any more", || match user.get(PATH) {
        (503, _) => Ok(()),
        other => Err(other),
    });
}
