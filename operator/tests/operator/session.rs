//! Sessions of nodes, and the readiness that follows from what they say.

use pathsteer_crds::{Kind, keys};
use serde_json::json;

use crate::client::Client;
use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, condition, eventually};

fn ready(user: &Client, path: &str, wanted: (&str, &str)) -> String {
    eventually(&format!("{path} is Ready={wanted:?}"), || {
        let (_, object) = user.get(path);
        match condition(&object, "Ready") {
            Some((status, reason, message)) if (status.as_str(), reason.as_str()) == wanted => Ok(message),
            _ => Err(object),
        }
    })
}

#[test]
fn a_site_is_ready_when_its_node_carries_out_the_newest_plan_and_its_tunnels_are_up() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (edge, anchor) = (Node::edge(), Node::anchor());
    let site = "/v1/sites/rv-07";
    ready(&user, site, ("False", "NotConnected"));

    assert_eq!(edge.hello(&rig, 0, 0).0, 200);
    let (mut lines, mut plan) = (edge.stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    ready(&user, site, ("False", "NoReport"));
    assert_eq!(edge.report(&rig, &plan, 1).0, 204);
    let message = ready(&user, site, ("False", "KeysPending"));
    assert!(message.contains("slot 1"), "{message}");

    assert_eq!(anchor.hello(&rig, 0, 0).0, 200);
    plan.follow(&mut lines, |plan| plan.count("wireguardPeers") == 1);
    ready(&user, site, ("False", "PlanPending"));
    assert_eq!(edge.report(&rig, &plan, 181).0, 204);
    let message = ready(&user, site, ("False", "TunnelDown"));
    assert!(message.contains("slot 1 to dal-a"), "{message}");
    ready(&user, "/v1/uplinks/rv-07/fiber", ("False", "TunnelDown"));
    assert_eq!(edge.report(&rig, &plan, 180).0, 204);
    ready(&user, site, ("True", "CarriedOut"));
    ready(&user, "/v1/uplinks/rv-07/fiber", ("True", "CarriedOut"));
    ready(&user, "/v1/anchors/dal-a", ("False", "NotConnected"));

    assert_eq!(user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)).0, 200);
    ready(&user, site, ("False", "PlanPending"));
    plan.follow(&mut lines, |plan| plan.count("wireguardPeers") == 2);
    assert_eq!(edge.report(&rig, &plan, 0).0, 204);
    ready(&user, site, ("True", "CarriedOut"));
    let (_, state) = user.get("/v1/nodes/rv-07");
    assert_eq!((&state["connected"], &state["role"]), (&true.into(), &"edge".into()));
    assert_eq!(state["plan"]["generation"], state["report"]["generation"]);
    drop(lines);
    ready(&user, site, ("False", "NotConnected"));
}

#[test]
fn a_change_is_taken_only_on_top_of_the_report_it_changes_and_written_only_if_it_changes_something() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    let client = edge.client(&rig);
    let whole = json!({"node": "rv-07", "generation": 3, "segmentation": "whole"});
    let (status, one) = client.tagged("POST", "/v1/session/report", None, &whole);
    assert_eq!(status, 204);
    let one = one.expect("a report has a name");
    let change = |base: &str, change| client.tagged("PATCH", "/v1/session/report", Some(base), &change);
    assert_eq!(change("\"another\"", json!({"generation": 4})).0, 412);
    assert_eq!(client.tagged("PATCH", "/v1/session/report", None, &json!({"generation": 4})).0, 412);
    let (status, two) = change(&one, json!({"generation": 4, "driftRepaired": 2}));
    let two = two.expect("and so has what it becomes");
    assert_eq!((status, two == one), (204, false));
    let (_, state) = user.get("/v1/nodes/rv-07");
    let report = &state["report"];
    assert_eq!((&report["generation"], &report["driftRepaired"]), (&json!(4), &json!(2)));
    assert_eq!(report["segmentation"], "whole", "what did not change was not sent again");
    assert_eq!(change(&one, json!({"generation": 5})).0, 412, "it is on top of what is no more");
    assert_eq!(change(&two, json!({"node": "rv-08"})).0, 403);
    assert_eq!(change(&two, json!({"generation": "many"})).0, 400);
    let written = || rig.etcdctl(&["get", "-w", "fields", &keys::report("rv-07")]);
    let before = written();
    assert_eq!(change(&two, json!({"generation": 4})), (204, Some(two)));
    let version = |text: &str| text.lines().find(|line| line.contains("Version")).map(str::to_owned);
    assert_eq!(version(&written()), version(&before), "the same is not written again");
}

#[test]
fn what_a_node_tells_of_its_problems_stands_in_the_conditions_of_those_that_have_them() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    assert_eq!(user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)).0, 200);
    let edge = Node::edge();
    let client = edge.client(&rig);
    let problem = json!({"kind": "NoLease", "object": "uplink 2", "slot": 2, "reason": "no server",
        "since": "2026-01-01T00:00:00Z", "sinceUptime": 7});
    let report = |problems| json!({"node": "rv-07", "problems": problems});
    let healthy = |path: &str, wanted: (&str, &str)| {
        eventually(&format!("{path} is Healthy={wanted:?}"), || {
            let (_, object) = user.get(path);
            match condition(&object, "Healthy") {
                Some((status, reason, message)) if (status.as_str(), reason.as_str()) == wanted => Ok(message),
                _ => Err(object),
            }
        })
    };
    assert_eq!(client.post("/v1/session/report", report(json!([problem]))).0, 204);
    let message = healthy("/v1/uplinks/rv-07/starlink", ("False", "NoLease"));
    assert_eq!(message, "uplink 2: no server (since 2026-01-01T00:00:00Z)");
    healthy("/v1/sites/rv-07", ("False", "NoLease"));
    healthy("/v1/uplinks/rv-07/fiber", ("True", "NoProblems"));
    assert_eq!(client.post("/v1/session/report", report(json!([]))).0, 204);
    healthy("/v1/sites/rv-07", ("True", "NoProblems"));
}

#[test]
fn a_segment_and_an_override_are_ready_when_their_site_carries_them_out_whatever_its_tunnels_do() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    assert_eq!(edge.hello(&rig, 0, 0).0, 200);
    let (mut lines, mut plan) = (edge.stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    assert_eq!(edge.report(&rig, &plan, 0).0, 204);

    let mentions =
        |word: &'static str| move |plan: &Plan| plan.fragments.values().any(|f| f.to_string().contains(word));
    let (segment, will) = ("/v1/vlans/rv-07/crew", "/v1/overrides/rv-07-mode");
    let (site, interface) =
        (json!({"site": "rv-07", "name": "crew"}), json!({"interface": "lan0", "addresses": ["172.16.7.1/24"]}));
    assert_eq!(user.put(segment, objects::object("Vlan", site, interface)).0, 200);
    plan.follow(&mut lines, mentions("lan0"));
    let mode = json!({"site": "rv-07", "action": {"mode": "mirror"}});
    assert_eq!(user.put(will, objects::object("Override", json!({"name": "rv-07-mode"}), mode)).0, 200);
    plan.follow(&mut lines, mentions("mirror"));
    ready(&user, segment, ("False", "PlanPending"));
    ready(&user, will, ("False", "PlanPending"));
    assert_eq!(edge.report(&rig, &plan, 0).0, 204);
    ready(&user, segment, ("True", "CarriedOut"));
    ready(&user, will, ("True", "CarriedOut"));
    ready(&user, "/v1/sites/rv-07", ("False", "KeysPending"));
}

#[test]
fn what_holds_for_many_nodes_is_ready_when_each_of_them_carries_it_out() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (edge, anchor) = (Node::edge(), Node::anchor());
    for node in [&edge, &anchor] {
        assert_eq!(node.hello(&rig, 0, 0).0, 200);
    }
    let fabric = "/v1/fabrics/default";
    let message = ready(&user, fabric, ("False", "NodesPending"));
    assert!(message.starts_with("2 of 2 nodes have yet to carry it out: dal-a ("), "{message}");
    let carry_out = |node: &Node| {
        let (mut lines, mut plan) = (node.stream(&rig, 0), Plan::default());
        plan.follow(&mut lines, |plan| plan.count("wireguardPeers") == 1);
        assert_eq!(node.report(&rig, &plan, 0).0, 204);
        (lines, plan)
    };
    let (mut lines, mut plan) = carry_out(&edge);
    let message = ready(&user, fabric, ("False", "NodesPending"));
    assert!(message.contains("dal-a ("), "{message}");
    let _anchor = carry_out(&anchor);
    ready(&user, fabric, ("True", "CarriedOut"));

    let mirror = json!({"sites": ["rv-07"], "mode": "mirror"});
    assert_eq!(user.put("/v1/modes/one", objects::object("Mode", json!({"name": "one"}), mirror)).0, 200);
    let message = ready(&user, "/v1/modes/one", ("False", "NodesPending"));
    assert_eq!(message, "1 of 2 nodes have yet to carry it out: rv-07 (PlanPending)");
    plan.follow(&mut lines, |plan| plan.fragments.values().any(|fragment| fragment.to_string().contains("mirror")));
    assert_eq!(edge.report(&rig, &plan, 0).0, 204);
    ready(&user, "/v1/modes/one", ("True", "CarriedOut"));
}

#[test]
fn a_node_that_resumes_gets_only_what_it_does_not_have() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    let mut plan = Plan::default();
    plan.follow(&mut edge.stream(&rig, 0), |_| true);
    let first = edge.stream(&rig, plan.revision).next().unwrap();
    assert_eq!(first["type"], "heartbeat", "{first}");
}

#[test]
fn a_plan_whose_content_did_not_change_is_not_published_again() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let root = rig_root(&rig);
    let elsewhere = serde_json::json!({"sites": ["rv-07"], "mode": "training"});
    let unchanged = objects::object("Mode", serde_json::json!({"name": "same"}), elsewhere);
    assert_eq!(user.put("/v1/modes/same", unchanged).0, 200);
    ready(&user, "/v1/modes/same", ("False", "NodesPending"));
    assert_eq!(rig_root(&rig), root);
}

fn rig_root(rig: &Rig) -> String {
    eventually("there is a root", || match rig.etcdctl(&["get", "-w", "json", &keys::plan_root("rv-07")]) {
        json if json.contains("kvs") => {
            let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
            Ok(parsed["kvs"].to_string())
        }
        json => Err(json),
    })
}

#[test]
fn a_node_whose_plan_is_newer_than_the_store_raises_the_epoch() {
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    let (mut lines, mut plan) = (edge.stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    assert_eq!(plan.root["storeEpoch"], 1);
    assert_eq!(edge.hello(&rig, 1, plan.root["generation"].as_i64().unwrap()).0, 200);
    assert_eq!(rig.etcdctl(&["get", "--print-value-only", keys::EPOCH]), "", "its own plan raises nothing");
    assert_eq!(edge.hello(&rig, 4, 1_000_000).0, 200);
    plan.follow(&mut lines, |plan| plan.root["storeEpoch"] == 5);
    let (mut lines, mut plan) = (Node::anchor().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |plan| plan.root["storeEpoch"] == 5);
}

#[test]
fn a_node_is_told_that_its_plan_is_gone_even_if_it_was_away() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let edge = Node::edge();
    let (mut lines, mut plan) = (edge.stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    rig.etcdctl(&["del", &keys::spec(Kind::Site, "rv-07")]);
    let gone = lines.find(|event| event["type"] != "heartbeat").unwrap();
    assert_eq!(gone["type"], "gone");
    let first = edge.stream(&rig, plan.revision).next().unwrap();
    assert_eq!(first["type"], "gone");
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    plan.follow(&mut lines, |_| true);
}

#[test]
fn a_hello_that_cannot_be_right_is_refused() {
    let rig = Rig::start();
    let client = Node::edge().client(&rig);
    let hello = |versions: &[u32], key: &str| {
        client.post(
            "/v1/session/hello",
            serde_json::json!({"agentVersion": "9", "planVersions": versions, "storeEpoch": 0, "generation": 0,
                "identity": {"wireguardKeys": {"1": key}}}),
        )
    };
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    assert_eq!(hello(&[1], key).0, 200);
    assert_eq!(hello(&[2, 3], key).0, 409);
    assert_eq!(hello(&[1], "AQEB").0, 422);
}
