//! Who may do what.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::client::{Client, Identity};
use crate::node::Node;
use crate::objects;
use crate::rig::Rig;

#[test]
fn a_node_may_use_its_session_and_nothing_of_the_users() {
    let rig = Rig::start();
    let node = Node::edge().client(&rig);
    for path in
        ["/v1/sites", "/v1/sites/rv-07", "/v1/uplinks/rv-07/fiber", "/v1/plans/rv-07", "/v1/nodes", "/v1/nodes/rv-07"]
    {
        let (status, problem) = node.get(path);
        assert_eq!((status, &problem["status"]), (403, &json!(403)), "{path}");
    }
    assert_eq!(node.post("/v1/apply", objects::all()).0, 403);
    assert_eq!(node.delete("/v1/sites/rv-07").0, 403);
    assert_eq!(Node::edge().hello(&rig, 0, 0).0, 200);
    assert_eq!(node.get("/v1/healthz").0, 200);
}

#[test]
fn a_node_cannot_speak_for_another() {
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    let (edge, anchor) = (Node::edge(), Node::anchor());
    let (status, problem) = edge.client(&rig).post("/v1/session/report", json!({"node": anchor.name}));
    assert_eq!(status, 403, "{problem}");
    assert_eq!(rig.user().get("/v1/nodes/dal-a").1.get("report"), None);
    // The stream names no node, so it can only be the certificate's own.
    let mut plan = crate::node::Plan::default();
    plan.follow(&mut edge.stream(&rig, 0), |_| true);
    assert_eq!(plan.root["node"], "rv-07");
}

#[test]
fn a_user_has_no_session() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.get("/v1/session/plan").0, 403);
    assert_eq!(user.post("/v1/session/report", json!({"node": "kim"})).0, 403);
}

#[test]
fn a_certificate_of_another_authority_gets_no_word() {
    let (rig, other) = (Rig::start(), Rig::start());
    let stranger = other.identity("user", "kim");
    let own = rig.identity("user", "kim");
    let client = Client::new(rig.address, &Identity { ca: own.ca, ..stranger });
    assert_eq!(client.get("/v1/healthz").0, 0, "no answer at all");
    assert_eq!(rig.user().get("/v1/healthz").0, 200);
}

#[test]
fn the_private_etcd_is_its_owners_alone_and_takes_nobody_without_its_certificate() {
    let rig = Rig::start();
    let folder = rig.data.path().join("etcd");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let endpoint = format!("--endpoints=https://127.0.0.1:{}", etcd_port(&folder));
    let ask = |credentials: &[&str]| {
        let file = |name: &str| folder.join("pki").join(name).display().to_string();
        let mut command = Command::new("etcdctl");
        command.args([&endpoint, "--dial-timeout=1s", "--command-timeout=2s", "--cacert", &file("ca.crt")]);
        if let [certificate, key] = credentials {
            command.args(["--cert", &file(certificate), "--key", &file(key)]);
        }
        command.args(["get", "x"]).env("ETCDCTL_API", "3").output().unwrap().status.success()
    };
    assert!(ask(&["client.crt", "client.key"]));
    assert!(!ask(&[]));
}

/// The first number in the file of ports.
fn etcd_port(folder: &std::path::Path) -> String {
    let ports = std::fs::read_to_string(folder.join("ports")).unwrap();
    ports.split_whitespace().next().unwrap().to_owned()
}
