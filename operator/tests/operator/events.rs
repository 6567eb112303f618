//! What has happened, asked for later and as it happens.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, eventually};

fn text(event: &Value) -> String {
    let word = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}→{} {}", word("name"), word("what"), word("from"), word("to"), word("reason"))
}

#[test]
fn what_happens_to_objects_is_told_as_it_happens_and_kept() {
    let mut rig = Rig::start();
    let user = rig.user();
    let mut lines = rig.user().lines("/v1/watch/events?fieldSelector=kind%3DSite");
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let mut follow = |wanted: &str| loop {
        let event = text(&lines.find(|line| line["type"] == "added").unwrap()["object"]);
        println!("{event}");
        if event == wanted {
            break;
        }
    };
    follow("rv-07 Admitted -→True Admitted");
    follow("rv-07 Ready -→False NotConnected");
    let (mut stream, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut stream, |_| true);
    follow("rv-07 Ready False→False NoReport");
    let mut wrong = objects::site();
    wrong["spec"]["anchors"] = json!(["dal-b"]);
    assert_eq!(user.put("/v1/sites/rv-07", wrong).0, 200);
    follow("rv-07 Admitted True→False ReferenceMissing");
    assert_eq!(user.delete("/v1/sites/rv-07").0, 200);
    follow("rv-07 Declared True→False Deleted");

    let path = "/v1/events?fieldSelector=name%3Drv-07,what%3DAdmitted";
    let kept = user.get(path).1["items"].clone();
    let texts: Vec<_> = kept.as_array().unwrap().iter().map(text).collect();
    assert_eq!(texts, ["rv-07 Admitted -→True Admitted", "rv-07 Admitted True→False ReferenceMissing"]);
    assert!(kept[1]["message"].as_str().unwrap().contains("dal-b"), "{kept}");
    assert_eq!(user.get(&format!("{path}&limit=1")).1["items"].as_array().unwrap().len(), 1);
    rig.restart(Signal::SIGKILL);
    let user = rig.user();
    eventually("they outlive the operator", || match user.get(path) {
        (200, list) if list["items"] == kept => Ok(()),
        other => Err(other),
    });
    assert_eq!(user.get("/v1/watch/events?labelSelector=a%3Db").0, 400);
}
