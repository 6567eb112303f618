//! What one client cannot take from all others.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::objects;
use crate::rig::{Rig, eventually_within};

#[test]
fn a_user_who_asks_too_much_is_told_to_wait_and_others_are_not() {
    let rig = Rig::start();
    let statuses = rig.user().many("/v1/modes", 3_000);
    let refused = statuses.iter().filter(|(status, _)| *status == 429).count();
    let taken = statuses.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(refused + taken, 3_000, "{statuses:?}");
    assert!(taken >= 1_000 && refused > 0, "{taken} taken, {refused} refused");
    let wait = statuses.iter().find(|(status, _)| *status == 429).and_then(|(_, wait)| *wait);
    assert_eq!(wait, Some(1), "a refusal says when to try again");
    assert_eq!(rig.user_named("alex").get("/v1/modes").0, 200);
    assert_eq!(rig.user().get("/v1/healthz").0, 200, "whether it lives can always be asked");
}

#[test]
fn watches_of_one_user_are_counted_and_free_again_when_they_end() {
    let rig = Rig::start();
    let user = rig.user();
    let mut open: Vec<_> = (0..100).map(|_| rig.user().lines("/v1/watch/modes")).collect();
    assert!(open.iter_mut().all(|lines| lines.next().is_some()));
    assert_eq!(user.get("/v1/watch/modes").0, 429);
    open.pop();
    crate::rig::eventually("there is room for another", || {
        let mut lines = rig.user().lines("/v1/watch/modes");
        match lines.next() {
            Some(line) if line["type"] == "bookmark" => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let rig = Rig::start();
    let body = json!({"items": [], "padding": "x".repeat(33 << 20)});
    let (status, problem) = rig.user().post("/v1/apply", body);
    assert_eq!((status, &problem["status"]), (413, &json!(413)));
}

#[test]
fn an_object_that_is_too_large_to_be_kept_is_refused_with_its_size() {
    let rig = Rig::start();
    let mut mode = objects::mode("fleet", 1);
    mode["metadata"]["labels"] = json!({"padding": "x".repeat(2 << 20)});
    let (status, problem) = rig.user().put("/v1/modes/fleet", mode);
    assert_eq!(status, 422);
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("524288 at most"), "{problem}");
}

#[test]
fn a_body_that_stands_still_is_given_up() {
    let rig = Rig::start();
    let began = Instant::now();
    assert_eq!(rig.user().begin_a_body_and_stop("/v1/apply"), 408);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let rig = Rig::start();
    let mut silent = TcpStream::connect(rig.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "the operator hangs up first");
}

#[test]
fn a_watch_that_nobody_reads_ends_and_others_can_begin() {
    let rig = Rig::start();
    let user = rig.user();
    // More than what lies between the two can hold.
    let modes: Vec<_> = (0..200)
        .map(|n| {
            let mut mode = objects::mode(&format!("m{n}"), 1);
            mode["metadata"]["labels"] = json!({"padding": "x".repeat(50_000)});
            mode
        })
        .collect();
    assert_eq!(user.post("/v1/apply", json!({"items": modes})).0, 200);
    let unread: Vec<_> = (0..100).map(|_| rig.user().lines("/v1/watch/modes")).collect();
    assert_eq!(user.get("/v1/watch/modes").0, 429);
    eventually_within(Duration::from_secs(90), "there is room for another", || {
        let (status, _) = user.get("/v1/watch/modes?resourceVersion=999999999");
        // With room it is looked at, and is from the future.
        if status == 410 { Ok(()) } else { Err(status) }
    });
    drop(unread);
}
