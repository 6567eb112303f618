//! A prefix of the store that somebody empties by mistake.

use nix::sys::signal::{Signal, kill};
use pathsteer_crds::{Kind, keys};
use serde_json::{Value, json};

use crate::client::Client;
use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, eventually};

/// Sites beside `rv-07`, so that there is a fleet to lose.
const OTHERS: [&str; 4] = ["boat-1", "bus-2", "clinic-3", "van-4"];

fn fleet() -> Value {
    let mut fleet = objects::all();
    let items = fleet["items"].as_array_mut().unwrap();
    for (n, name) in OTHERS.into_iter().enumerate() {
        let spec = json!({"anchors": ["dal-a"], "prefixes": [format!("172.16.{}.0/24", 20 + n)]});
        items.push(objects::object("Site", json!({"name": name}), spec));
        let spec = json!({"slot": 1, "kind": "fiber", "interface": "wan1"});
        items.push(objects::object("Uplink", json!({"site": name, "name": "fiber"}), spec));
    }
    fleet
}

fn warnings(user: &Client) -> Vec<Value> {
    user.get("/v1/readyz").1["warnings"].as_array().cloned().unwrap_or_default()
}

fn warned(user: &Client, whether: bool) {
    eventually(&format!("there is a warning: {whether}"), || match warnings(user) {
        found if found.is_empty() == whether => Err(found),
        found => Ok(found),
    });
}

/// What the node `name` is to carry out.
fn fragments(user: &Client, name: &str) -> Value {
    let mut plan = user.get(&format!("/v1/plans/{name}")).1;
    plan["generation"] = Value::Null;
    plan
}

/// A fleet whose numbers are not those that a fresh compilation would give out, and the plan of `rv-07` with its peer.
fn running() -> (Rig, crate::client::Lines, Plan) {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (edge, anchor) = (Node::edge(), Node::anchor());
    for node in [&edge, &anchor] {
        assert_eq!(node.hello(&rig, 0, 0).0, 200);
    }
    let (mut lines, mut plan) = (edge.stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |plan| plan.count("wireguardPeers") == 1);
    assert_eq!(user.post("/v1/apply", fleet()).0, 200);
    eventually("every site has a plan", || {
        let planned = OTHERS.iter().filter(|name| user.get(&format!("/v1/plans/{name}")).0 == 200).count();
        if planned == OTHERS.len() { Ok(()) } else { Err(planned) }
    });
    (rig, lines, plan)
}

/// Empties `prefix`, has the operator restarted meanwhile if so wanted, puts the same objects back, and looks at what
/// the nodes were told.
fn emptied(prefix: &str, restart: bool) {
    let (mut rig, mut lines, mut plan) = running();
    let user = rig.user();
    let numbers = rig.etcdctl(&["get", "--print-value-only", keys::ALLOCATIONS]);
    assert!(numbers.contains("rv-07"), "{numbers}");
    let before = plan.root["fragments"].clone();
    let anchor = fragments(&user, "dal-a");

    rig.etcdctl(&["del", "--prefix", prefix]);
    warned(&user, true);
    let user = if restart {
        rig.restart(Signal::SIGTERM);
        lines = Node::edge().stream(&rig, plan.revision);
        let user = rig.user();
        warned(&user, true);
        user
    } else {
        user
    };
    assert_eq!(user.post("/v1/apply", fleet()).0, 200);
    warned(&user, false);
    assert_eq!(rig.etcdctl(&["get", "--print-value-only", keys::ALLOCATIONS]), numbers, "numbers stay");
    eventually("the anchor's plan is as before", || match fragments(&user, "dal-a") {
        plan if plan == anchor => Ok(()),
        other => Err(other["node"].clone()),
    });

    assert_eq!(user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)).0, 200);
    let mut told = Vec::new();
    plan.follow(&mut lines, |plan| {
        told.push(plan.root["fragments"].clone());
        plan.count("paths") == 2
    });
    told.pop();
    assert!(told.iter().all(|fragments| *fragments == before), "the node was told something else: {told:?}");
}

#[test]
fn emptied_specs_take_nothing_from_any_node_and_all_goes_on_when_they_are_put_back() {
    emptied(&format!("{}spec/", keys::ROOT), false);
}

#[test]
fn emptied_specs_take_nothing_from_any_node_even_if_the_operator_is_restarted_before_they_are_back() {
    emptied(&format!("{}spec/", keys::ROOT), true);
}

#[test]
fn an_emptied_store_takes_nothing_from_any_node_and_all_goes_on_when_it_is_put_back() {
    emptied("/pathsteer/", false);
}

#[test]
fn an_emptied_store_takes_nothing_from_any_node_even_if_the_operator_is_restarted_before_it_is_back() {
    emptied("/pathsteer/", true);
}

#[test]
fn what_vanished_is_named_and_goes_when_somebody_confirms_it() {
    let (rig, mut lines, _) = running();
    let user = rig.user();
    rig.etcdctl(&["del", "--prefix", &keys::spec(Kind::Site, "")]);
    warned(&user, true);
    let named: Value = serde_json::from_str(&rig.etcdctl(&["get", "--print-value-only", keys::GUARD])).unwrap();
    assert_eq!(named["withheld"], json!(["Site boat-1", "Site bus-2", "Site clinic-3", "Site rv-07", "Site van-4"]));
    assert_eq!(user.put("/v1/modes/fleet", objects::mode("fleet", 1)).0, 200, "the rest goes on meanwhile");
    eventually("a mode reaches a site that is kept", || {
        let found = user.get("/v1/plans/rv-07").1["steering"][0]["mode"].clone();
        if found == "mirror" { Ok(()) } else { Err(found) }
    });
    rig.etcdctl(&["put", keys::GUARD, keys::CONFIRMED]);
    let gone = lines.find(|event| event["type"] == "gone");
    assert!(gone.is_some());
    warned(&user, false);
    eventually("the last plan is withdrawn", || match user.get("/v1/plans/van-4") {
        (404, _) => Ok(()),
        other => Err(other),
    });
    eventually("the guard's key is gone", || match rig.etcdctl(&["get", "--print-value-only", keys::GUARD]) {
        left if left.trim().is_empty() => Ok(()),
        left => Err(left),
    });
}

#[test]
fn the_operator_itself_confirms_what_it_keeps_and_nothing_when_it_keeps_nothing() {
    let (rig, _lines, _) = running();
    let confirm = || rig.run(&["confirm-deletion", "--data-dir", &rig.data.path().to_string_lossy()]);
    let nothing = confirm();
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing to confirm"));
    rig.etcdctl(&["del", "--prefix", &keys::spec(Kind::Site, "")]);
    let user = rig.user();
    warned(&user, true);
    let confirmed = confirm();
    assert!(confirmed.status.success(), "{}", String::from_utf8_lossy(&confirmed.stderr));
    assert!(String::from_utf8_lossy(&confirmed.stdout).contains("Site van-4"));
    warned(&user, false);
    eventually("the plan is withdrawn", || match user.get("/v1/plans/van-4") {
        (404, _) => Ok(()),
        other => Err(other),
    });
}

#[test]
fn what_is_deleted_through_the_api_goes_at_once_however_much_it_is() {
    let (rig, mut lines, _) = running();
    let user = rig.user();
    for name in OTHERS.into_iter().chain(["rv-07"]) {
        assert_eq!(user.delete(&format!("/v1/sites/{name}")).0, 200);
    }
    assert!(lines.any(|event| event["type"] == "gone"));
    for name in OTHERS {
        eventually("its plan is withdrawn", || match user.get(&format!("/v1/plans/{name}")) {
            (404, _) => Ok(()),
            other => Err(other),
        });
    }
    assert_eq!(warnings(&user), [Value::Null; 0]);
    eventually("nothing is left to be said about it", || {
        let left = rig.etcdctl(&["get", "--prefix", "--keys-only", &format!("{}deleting/", keys::ROOT)]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn numbers_are_put_back_by_whoever_knows_them_and_not_given_out_anew_in_silence() {
    let (mut rig, _lines, _) = running();
    let stored = |rig: &Rig| rig.etcdctl(&["get", "--print-value-only", keys::ALLOCATIONS]);
    let numbers = stored(&rig);
    rig.etcdctl(&["del", keys::ALLOCATIONS]);
    eventually("they are put back", || match stored(&rig) {
        found if found == numbers => Ok(()),
        found => Err(found),
    });
    // Nobody knows them any more: the operator that did is gone, and so is its file.
    kill(rig.pid(), Signal::SIGSTOP).unwrap();
    assert_eq!(rig.etcdctl(&["del", keys::ALLOCATIONS]).trim(), "1");
    rig.end(Signal::SIGKILL);
    std::fs::remove_file(rig.path("memory.json")).unwrap();
    rig.restart_ended();
    let user = rig.user();
    assert_eq!(user.put("/v1/modes/fleet", objects::mode("fleet", 1)).0, 200);
    eventually("somebody is told", || match warnings(&user) {
        found if found.iter().any(|text| text.as_str().unwrap().contains(keys::ALLOCATIONS)) => Ok(()),
        found => Err(found),
    });
    assert_eq!(stored(&rig), "");
    rig.etcdctl(&["put", keys::ALLOCATIONS, numbers.trim()]);
    eventually("the mode is carried out", || {
        let found = user.get("/v1/plans/rv-07").1["steering"][0]["mode"].clone();
        if found == "mirror" { Ok(()) } else { Err(found) }
    });
}
