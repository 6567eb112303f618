//! Many writers at once: through the API with and without conditions, and etcdctl.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pathsteer_crds::{Kind, keys};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, eventually};

const PATH: &str = "/v1/modes/fleet";

/// The mode, said by `writer` for the `n`-th time: no two writes are the same.
fn said(writer: &str, n: usize) -> Value {
    let mut mode = objects::mode("fleet", 1 + (n % 3) as u8);
    mode["metadata"]["labels"] = json!({"by": format!("{writer}-{n}")});
    mode
}

#[test]
fn no_conditional_write_is_lost_among_those_who_write_without_looking() {
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    assert_eq!(rig.user().put(PATH, said("first", 0)).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    let key = keys::spec(Kind::Mode, "fleet");
    // (what it depended on, what it became, who said it); revisions of the store.
    let written: Mutex<Vec<(Option<i64>, i64, String)>> = Mutex::default();
    let conflicts = Mutex::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (rig, written, conflicts) = (&rig, &written, &conflicts);
            scope.spawn(move || {
                let user = rig.user_named(&format!("conditional-{writer}"));
                for n in 0..15 {
                    loop {
                        let read = user.get(PATH).1["metadata"]["resourceVersion"].as_i64().unwrap();
                        let mut mode = said(&format!("conditional-{writer}"), n);
                        let by = mode["metadata"]["labels"]["by"].as_str().unwrap().to_owned();
                        mode["metadata"]["resourceVersion"] = read.into();
                        match user.post("/v1/apply", json!({"items": [mode]})) {
                            (200, applied) => {
                                let revision = applied["resourceVersion"].as_i64().unwrap();
                                written.lock().unwrap().push((Some(read), revision, by));
                                break;
                            }
                            (409, _) => *conflicts.lock().unwrap() += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
        for writer in 0..2 {
            let (rig, written) = (&rig, &written);
            scope.spawn(move || {
                let user = rig.user_named(&format!("applied-{writer}"));
                for n in 0..20 {
                    let mode = said(&format!("applied-{writer}"), n);
                    let by = mode["metadata"]["labels"]["by"].as_str().unwrap().to_owned();
                    let (status, applied) = user.post("/v1/apply", json!({"items": [mode]}));
                    assert_eq!(status, 200, "{applied}");
                    written.lock().unwrap().push((None, applied["resourceVersion"].as_i64().unwrap(), by));
                }
            });
        }
        let (rig, written, key) = (&rig, &written, &key);
        scope.spawn(move || {
            for n in 0..20 {
                let mode = said("by-hand", n);
                let by = mode["metadata"]["labels"]["by"].as_str().unwrap().to_owned();
                let answer = rig.etcdctl(&["put", "-w", "json", key, &mode.to_string()]);
                let answer: Value = serde_json::from_str(&answer).unwrap();
                written.lock().unwrap().push((None, answer["header"]["revision"].as_i64().unwrap(), by));
            }
        });
    });
    let mut written = written.into_inner().unwrap();
    written.sort_by_key(|(_, revision, _)| *revision);
    assert_eq!(written.len(), 4 * 15 + 2 * 20 + 20);
    println!("{} writes, {} conflicts", written.len(), conflicts.into_inner().unwrap());
    let revisions: BTreeSet<_> = written.iter().map(|(_, revision, _)| *revision).collect();
    assert_eq!(revisions.len(), written.len(), "each write has a revision of its own");
    for (read, revision, by) in &written {
        let at = |revision: i64| -> Value {
            let rev = format!("--rev={revision}");
            let json = rig.etcdctl(&["get", "-w", "json", &rev, &key]);
            serde_json::from_str::<Value>(&json).unwrap()["kvs"][0].clone()
        };
        assert_eq!(at(*revision)["mod_revision"], *revision);
        if let Some(read) = read {
            assert_eq!(at(revision - 1)["mod_revision"], *read, "{by} overwrote what it had not read");
        }
    }
    let user = rig.user();
    let last = written.last().unwrap();
    eventually("the last write is what is shown", || match user.get(PATH).1["metadata"].clone() {
        shown if shown["resourceVersion"] == last.1 && shown["labels"]["by"] == last.2.as_str() => Ok(()),
        shown => Err(shown),
    });
    // Something that the plan shows, so that the stream has an end.
    assert_eq!(user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)).0, 200);
    let mut before = plan.root["generation"].as_i64().unwrap();
    plan.follow(&mut lines, |plan| {
        let generation = plan.root["generation"].as_i64().unwrap();
        assert!(generation > before, "{generation} after {before}");
        before = generation;
        plan.count("paths") == 2
    });
}

/// Two uplinks of the site, both with the number `n`, and so many objects between them that they would not fit into one
/// transaction of etcd's default size.
fn directory(n: usize) -> Value {
    let uplink = |site: &str, name: &str, slot: u8, interface: String| {
        let spec = json!({"slot": slot, "kind": "fiber", "interface": interface});
        objects::object("Uplink", json!({"site": site, "name": name}), spec)
    };
    let mut items = vec![uplink("rv-07", "fiber", 1, format!("one{n}"))];
    items.extend((0..150).map(|between| uplink(&format!("none-{between}"), "fiber", 1, format!("x{n}"))));
    items.push(uplink("rv-07", "starlink", 2, format!("two{n}")));
    json!({"items": items})
}

/// The numbers that the plan's cards have.
fn numbers(plan: &Plan) -> BTreeSet<String> {
    let text: String = plan.fragments.values().map(Value::to_string).collect();
    let words = text.split('"').filter_map(|word| word.strip_prefix("one").or_else(|| word.strip_prefix("two")));
    words.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned).collect()
}

#[test]
fn nobody_sees_half_of_an_apply_however_many_objects_it_has() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    assert_eq!(user.post("/v1/apply", directory(0)).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |plan| plan.count("paths") == 2);
    const LAST: usize = 12;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (rig, done) = (&rig, &done);
        scope.spawn(move || {
            let user = rig.user_named("applier");
            for n in 1..=LAST {
                assert_eq!(user.post("/v1/apply", directory(n)).0, 200);
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(move || {
            let user = rig.user_named("reader");
            while !done.load(Ordering::SeqCst) {
                let list = user.get("/v1/uplinks").1;
                let interface = |uplink: &Value| uplink["spec"]["interface"].as_str().unwrap().to_owned();
                let items = list["items"].as_array().unwrap();
                let seen: BTreeSet<_> = items
                    .iter()
                    .map(|uplink| interface(uplink).trim_start_matches(|c: char| c.is_alphabetic()).to_owned())
                    .collect();
                assert_eq!(seen.len(), 1, "half of one and half of another: {seen:?}");
            }
        });
        plan.follow(&mut lines, |plan| {
            let seen = numbers(plan);
            assert_eq!(seen.len(), 1, "a plan of half an apply: {seen:?}");
            seen.contains(&LAST.to_string())
        });
    });
}

#[test]
fn an_apply_of_thousands_of_objects_is_one_revision() {
    let rig = Rig::start();
    let user = rig.user();
    let items: Vec<_> = (0..3_000).map(|n| objects::mode(&format!("m{n:05}"), 1)).collect();
    let (status, applied) = user.post("/v1/apply", json!({"items": items}));
    assert_eq!(status, 200, "{applied}");
    let list = user.get("/v1/modes").1;
    let items = list["items"].as_array().unwrap();
    let revisions: BTreeSet<_> =
        items.iter().map(|mode| mode["metadata"]["resourceVersion"].as_i64().unwrap()).collect();
    assert_eq!((items.len(), revisions), (3_000, BTreeSet::from([applied["resourceVersion"].as_i64().unwrap()])));
    assert_eq!(user.get("/v1/readyz").1["warnings"], json!([]));
}

#[test]
fn a_cluster_that_takes_only_small_transactions_gets_steps_and_people_are_told_how_to_have_one() {
    let cluster = Cluster::start(1, &[]);
    let rig = Rig::with(&["--etcd", &cluster.endpoints()]);
    let user = rig.user();
    let items: Vec<_> = (0..250).map(|n| objects::mode(&format!("m{n:03}"), 1)).collect();
    assert_eq!(user.post("/v1/apply", json!({"items": items})).0, 200);
    assert_eq!(user.get("/v1/modes").1["items"].as_array().unwrap().len(), 250);
    let warnings = user.get("/v1/readyz").1["warnings"].to_string();
    assert!(warnings.contains("--max-txn-ops"), "{warnings}");
}
