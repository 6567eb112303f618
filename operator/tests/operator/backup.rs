//! Backups, shown by restoring them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use pathsteer_crds::{Kind, keys};

use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, eventually};

fn operator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pathsteer-operator")).args(arguments).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn backup(rig: &Rig, out: &Path) -> Output {
    operator(&["backup", "--data-dir", &rig.data.path().to_string_lossy(), "--out", &out.to_string_lossy()])
}

fn restore(folder: &Path, from: &Path, more: &[&str]) -> Output {
    let (folder, from) = (folder.to_string_lossy(), from.to_string_lossy());
    operator(&[&["restore", "--data-dir", &folder, "--from", &from], more].concat())
}

/// Every key of the store but what is said of connections.
fn specs(rig: &Rig) -> String {
    rig.etcdctl(&["get", "--prefix", &format!("{}spec/", keys::ROOT)])
}

/// A running fabric, and the plan that the site has.
fn running() -> (Rig, Plan) {
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    let (edge, anchor) = (Node::edge(), Node::anchor());
    for node in [&edge, &anchor] {
        assert_eq!(node.hello(&rig, 0, 0).0, 200);
    }
    let mut plan = Plan::default();
    plan.follow(&mut edge.stream(&rig, 0), |plan| plan.count("wireguardPeers") == 1);
    (rig, plan)
}

fn generation(plan: &Plan) -> i64 {
    plan.root["generation"].as_i64().unwrap()
}

#[test]
fn a_backup_made_while_the_operator_runs_becomes_the_same_operator_in_another_folder() {
    let (rig, mut plan) = running();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("backup");
    let said = succeeded(&backup(&rig, &file));
    assert!(said.contains("keys of revision"), "{said}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "the authority's key is in it");

    let folder = tempfile::tempdir().unwrap();
    succeeded(&restore(folder.path(), &file, &[]));
    let (told, before, authority) = (plan.root["fragments"].clone(), specs(&rig), rig.identity("user", "kim"));
    let numbers = rig.etcdctl(&["get", keys::ALLOCATIONS]);
    drop(rig);
    let rig = Rig::on(folder);
    // A certificate of before is still good, so nodes and users know the operator again.
    let user = crate::client::Client::new(rig.address, &authority);
    assert_eq!(user.get("/v1/sites/rv-07").0, 200);
    assert_eq!(specs(&rig), before);
    assert_eq!(rig.etcdctl(&["get", keys::ALLOCATIONS]), numbers);
    let edge = Node::edge();
    assert_eq!(edge.hello(&rig, 1, generation(&plan)).0, 200);
    plan.follow(&mut edge.stream(&rig, plan.revision), |plan| plan.root["storeEpoch"] == 2);
    assert_eq!(plan.root["fragments"], told, "the same plan, newer than what any node has");
}

#[test]
fn an_operator_that_does_not_run_is_backed_up_too() {
    let (mut rig, _) = running();
    rig.end(Signal::SIGTERM);
    let file = rig.path("backup");
    succeeded(&backup(&rig, &file));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&keys::spec(Kind::Site, "rv-07")) && text.contains("pki/ca.key"));
    rig.restart_ended();
}

#[test]
fn an_older_backup_under_nodes_that_are_ahead_of_it_withdraws_nothing_and_reaches_them() {
    let (mut rig, mut plan) = running();
    let user = rig.user();
    // A site that the backup knows as withdrawn.
    let spec = serde_json::json!({"anchors": ["dal-a"], "prefixes": ["172.16.20.0/24"]});
    let late = objects::object("Site", serde_json::json!({"name": "boat-1"}), spec);
    let planned = |status: u16| {
        eventually(&format!("boat-1's plan answers {status}"), || match user.get("/v1/plans/boat-1").0 {
            found if found == status => Ok(()),
            found => Err(found),
        });
    };
    assert_eq!(user.put("/v1/sites/boat-1", late.clone()).0, 200);
    planned(200);
    assert_eq!(user.delete("/v1/sites/boat-1").0, 200);
    planned(404);
    let file = rig.path("backup");
    succeeded(&backup(&rig, &file));
    assert!(std::fs::read_to_string(&file).unwrap().contains(&keys::plan_withdrawn("boat-1")));
    let told = plan.root["fragments"].clone();
    // Much happens after the backup: the site gets a newer plan, the other comes again.
    let edge = Node::edge();
    let mut lines = edge.stream(&rig, plan.revision);
    assert_eq!(user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)).0, 200);
    plan.follow(&mut lines, |plan| plan.count("paths") == 2);
    assert_eq!(user.put("/v1/sites/boat-1", late).0, 200);
    planned(200);
    let mut late = Plan::default();
    let mut boat = Node::edge();
    boat.name = "boat-1".into();
    late.follow(&mut boat.stream(&rig, 0), |_| true);
    rig.end(Signal::SIGTERM);

    for (epoch, aside) in [(2, "replaced-1"), (3, "replaced-2")] {
        let said = succeeded(&restore(rig.data.path(), &file, &["--replace"]));
        assert!(said.contains(aside) && rig.path(aside).join("etcd/data").exists(), "nothing is lost: {said}");
        rig.restart_ended();
        // The revision that the node remembers may by chance be one of the restored store too.
        let mut revision = plan.revision;
        for _ in 0..2 {
            assert_eq!(edge.hello(&rig, epoch - 1, generation(&plan) + 1_000).0, 200);
            let mut again = Plan { fragments: plan.fragments.clone(), ..Plan::default() };
            again.follow(&mut edge.stream(&rig, revision), |plan| plan.root["storeEpoch"] == epoch);
            assert_eq!(again.root["fragments"], told);
            revision = again.revision;
        }
        let event = boat.stream(&rig, late.revision).next().unwrap();
        assert_eq!(event["type"], "heartbeat", "a site that the backup does not know keeps what it has: {event}");
        rig.end(Signal::SIGTERM);
    }
    rig.restart_ended();
}

#[test]
fn a_restore_touches_nothing_that_is_in_use_or_in_its_way_and_takes_no_damaged_file() {
    let (mut rig, _) = running();
    let file = rig.path("backup");
    succeeded(&backup(&rig, &file));
    assert!(refused(&restore(rig.data.path(), &file, &["--replace"])).contains("another operator runs"));
    rig.end(Signal::SIGTERM);
    assert!(refused(&restore(rig.data.path(), &file, &[])).contains("--replace"));
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&restore(rig.data.path(), &file, &["--replace"])).contains("not a whole backup"));
    assert!(!rig.path("replaced-1").exists());
    // Half a restore is not taken for an operator's folder.
    std::fs::create_dir(rig.path("restoring")).unwrap();
    let started = operator(&["run", "--listen", "127.0.0.1:0", "--data-dir", &rig.data.path().to_string_lossy()]);
    assert!(refused(&started).contains("a restore into"));
    std::fs::write(&file, &whole).unwrap();
    succeeded(&restore(rig.data.path(), &file, &["--replace"]));
    rig.restart_ended();
    assert_eq!(rig.user().get("/v1/sites/rv-07").0, 200);
}

#[test]
fn what_was_never_an_operators_folder_has_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (nowhere, out) = (folder.path().join("nowhere"), folder.path().join("out"));
    let arguments = ["backup", "--data-dir", &nowhere.to_string_lossy(), "--out", &out.to_string_lossy()];
    assert!(refused(&operator(&arguments)).contains("nowhere"));
    assert!(!nowhere.exists() && !out.exists());
}
