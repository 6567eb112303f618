//! A store that is there and does not work: hung, read-only, full. Reads go on, writes are refused in words, and all goes
//! on by itself.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, condition, eventually};

/// Waits until somebody who asks is told a sentence that contains `words`; without words, until there is none.
pub fn warned(user: &Client, words: Option<&str>) -> String {
    eventually(&format!("there is a warning of {words:?}"), || {
        let warnings = user.get("/v1/readyz").1["warnings"].clone();
        let sentences: Vec<&str> = warnings.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match words {
            None if sentences.is_empty() => Ok(String::new()),
            None => Err(warnings.clone()),
            Some(words) => sentences
                .iter()
                .find(|text| text.contains(words))
                .map(|text| (*text).to_owned())
                .ok_or(warnings.clone()),
        }
    })
}

fn written(user: &Client) {
    eventually("writes are taken again", || {
        match user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)) {
            (200, _) => Ok(()),
            other => Err(other),
        }
    });
}

/// The refusal of a write; whatever it is.
fn refused(user: &Client) -> (u16, String) {
    let (status, problem) = user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2));
    (status, problem["detail"].as_str().unwrap_or_default().to_owned())
}

fn on(cluster: &Cluster) -> Rig {
    Rig::with(&["--etcd", &cluster.endpoints()])
}

#[test]
fn a_hung_etcd_refuses_writes_in_time_and_all_goes_on_when_it_does() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    let etcd = rig.etcd_pid().unwrap();
    kill(etcd, Signal::SIGSTOP).unwrap();
    assert_eq!(user.get("/v1/sites/rv-07").0, 200, "reads do without it");
    let asked = Instant::now();
    let (status, detail) = refused(&user);
    assert!(status == 503 && detail.contains("did not answer within"), "{status} {detail}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    warned(&user, Some("etcd does not answer"));
    let state = user.get("/v1/nodes/rv-07").1;
    assert_eq!(state["connected"], true, "nodes stay: {state}");
    assert_eq!(rig.etcd_pid(), Some(etcd), "it is not taken for dead");
    kill(etcd, Signal::SIGCONT).unwrap();
    written(&user);
    plan.follow(&mut lines, |plan| plan.count("paths") == 2);
    warned(&user, None);
    assert_eq!(rig.etcd_pid(), Some(etcd));
}

#[test]
fn an_etcd_that_lets_nobody_write_any_more_says_so_and_is_written_again_once_it_does() {
    let cluster = Cluster::start(1, &[]);
    let rig = on(&cluster);
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    for step in [&["user", "add", "root:secret"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]] {
        cluster.etcdctl(step);
    }
    eventually("writes are refused", || match refused(&user) {
        (503, detail) if detail.contains("user name is empty") => Ok(()),
        other => Err(other),
    });
    warned(&user, Some("user name is empty"));
    assert_eq!(user.get("/v1/sites/rv-07").0, 200);
    cluster.etcdctl(&["--user", "root:secret", "auth", "disable"]);
    // Nobody writes: the operator notices by itself.
    warned(&user, None);
    written(&user);
}

/// Puts 100 kB at a time into `key` until etcd takes no more.
fn fill(mut put: impl FnMut(&[&str]) -> std::process::Output) {
    let value = "x".repeat(100_000);
    let full = (0..2_000).any(|_| {
        let output = put(&["put", "elsewhere", &value]);
        String::from_utf8_lossy(&output.stderr).contains("database space exceeded")
    });
    assert!(full, "it never fills up");
}

const QUOTA: &str = "6000000";

#[test]
fn a_private_etcd_that_is_full_of_old_revisions_makes_room_by_itself() {
    let rig = Rig::with(&["--etcd-quota-bytes", QUOTA]);
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    fill(|arguments| rig.try_etcdctl(arguments));
    assert_eq!(user.get("/v1/sites/rv-07").0, 200);
    warned(&user, Some("has been cleared of old revisions"));
    written(&user);
    assert_eq!(rig.etcdctl(&["alarm", "list"]).trim(), "");
    warned(&user, None);
    assert_eq!(user.get("/v1/uplinks/rv-07/fiber").0, 200);
}

#[test]
fn somebody_elses_etcd_that_is_full_is_left_alone_and_its_owner_is_told_what_to_do() {
    let cluster = Cluster::start(1, &[&format!("--quota-backend-bytes={QUOTA}")]);
    let rig = on(&cluster);
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    fill(|arguments| cluster.try_etcdctl(arguments));
    let sentence = warned(&user, Some("etcdctl alarm disarm"));
    // Nothing can be written, least of all a condition: it is shown all the same, and waited for.
    let (_, fabric) = user.get("/v1/fabrics/default");
    let full = ("False".to_owned(), "StoreFull".to_owned(), sentence);
    assert_eq!(condition(&fabric, "StoreHealthy"), Some(full.clone()));
    let (_, list) = user.get("/v1/fabrics");
    assert_eq!(condition(&list["items"][0], "StoreHealthy"), Some(full));
    let mut watched =
        rig.user_named("alex").lines(&format!("/v1/watch/fabrics?resourceVersion={}", list["resourceVersion"]));
    let mut healthy = || {
        let line = watched.find(|line| line["type"] != "bookmark").unwrap();
        (
            condition(&line["object"], "StoreHealthy").unwrap().0,
            line["resourceVersion"].as_i64() >= list["resourceVersion"].as_i64(),
        )
    };
    assert_eq!(healthy(), ("False".to_owned(), true), "whoever goes on is told how it is now");
    let (status, detail) = refused(&user);
    assert!(status == 503 && detail.contains("NOSPACE"), "{status} {detail}");
    assert_eq!(user.get("/v1/sites/rv-07").0, 200);
    cluster.etcdctl(&["get", "--rev=2", "elsewhere"]);
    let status: Value = serde_json::from_str(&cluster.etcdctl(&["endpoint", "status", "-w", "json"])).unwrap();
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    for step in [&["compact", &revision][..], &["defrag"], &["alarm", "disarm"]] {
        cluster.etcdctl(step);
    }
    assert_eq!(healthy(), ("True".to_owned(), true));
    warned(&user, None);
    written(&user);
}

#[test]
fn any_one_of_three_members_may_die_and_two_are_an_outage_and_nothing_more() {
    let mut cluster = Cluster::start(3, &[]);
    let rig = on(&cluster);
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    // The leader is among them, and so is the one that the operator talks to.
    let leader = cluster.leader();
    for member in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        cluster.kill(member);
        let died = Instant::now();
        let name = format!("wan-{member}");
        let mut changed = objects::uplink("starlink", 2);
        changed["spec"]["interface"] = name.as_str().into();
        eventually("writes go on", || match user.put("/v1/uplinks/rv-07/starlink", changed.clone()) {
            (200, _) => Ok(()),
            other => Err(other),
        });
        plan.follow(&mut lines, |plan| plan.fragments.values().any(|fragment| fragment.to_string().contains(&name)));
        println!("member {member}: written and published {:?} after it died", died.elapsed());
        cluster.begin(member);
        cluster.answers();
    }
    for member in [0, 1] {
        cluster.kill(member);
    }
    let (status, detail) = refused(&user);
    assert!(status == 503 && detail.contains("does not take writes"), "{status} {detail}");
    assert_eq!(user.get("/v1/sites/rv-07").0, 200);
    assert!(!warned(&user, Some("etcd")).is_empty());
    for member in [0, 1] {
        cluster.begin(member);
    }
    eventually("writes go on", || match user.put("/v1/uplinks/rv-07/third", objects::uplink("third", 3)) {
        (200, _) => Ok(()),
        other => Err(other),
    });
    plan.follow(&mut lines, |plan| plan.count("paths") == 3);
    warned(&user, None);
}
