//! What one client cannot take from all others.

use serde_json::json;

use crate::rig::Rig;

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
