//! Objects put into etcd by hand.

use pathsteer_crds::{Kind, keys};
use serde_json::Value;

use crate::objects;
use crate::rig::{Rig, condition, eventually};

/// Puts everything there is with etcdctl and waits until the site has a plan.
fn by_hand() -> (Rig, crate::client::Client) {
    let rig = Rig::start();
    for (kind, key, object) in [
        (Kind::Uplink, "rv-07/fiber", objects::uplink("fiber", 1)),
        (Kind::Site, "rv-07", objects::site()),
        (Kind::Anchor, "dal-a", objects::anchor()),
        (Kind::Fabric, "default", objects::fabric()),
    ] {
        rig.etcdctl(&["put", &keys::spec(kind, key), &object.to_string()]);
    }
    let user = rig.user();
    admitted(&user, "/v1/fabrics/default", "True");
    (rig, user)
}

fn admitted(user: &crate::client::Client, path: &str, status: &str) -> (String, String) {
    eventually(&format!("{path} is Admitted={status}"), || {
        let (_, object) = user.get(path);
        match condition(&object, "Admitted") {
            Some((found, reason, message)) if found == status => Ok((reason, message)),
            _ => Err(object),
        }
    })
}

fn slots(plan: &Value) -> Vec<i64> {
    plan["paths"].as_array().unwrap().iter().map(|path| path["slot"].as_i64().unwrap()).collect()
}

#[test]
fn what_etcdctl_puts_is_compiled_like_what_is_applied() {
    let (by_hand, hand) = by_hand();
    let applied = Rig::start();
    let user = applied.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    admitted(&user, "/v1/fabrics/default", "True");
    for node in ["rv-07", "dal-a"] {
        let mut plans = [&hand, &user].map(|user| user.get(&format!("/v1/plans/{node}")).1);
        plans.iter_mut().for_each(|plan| plan["generation"] = Value::Null);
        assert_eq!(plans[0]["node"], *node);
        assert_eq!(plans[0], plans[1]);
    }
    drop(by_hand);
}

#[test]
fn an_invalid_put_is_said_so_and_the_last_good_version_stays_compiled() {
    let (rig, user) = by_hand();
    let before = user.get("/v1/plans/rv-07").1;
    let key = keys::spec(Kind::Uplink, "rv-07/fiber");
    for (broken, message) in [
        (objects::uplink("fiber", 9).to_string(), "spec.slot: 9 is out of range"),
        (objects::uplink("fibre", 1).to_string(), "named `rv-07/fibre` but stands in the key of `rv-07/fiber`"),
        ("no JSON at all".to_owned(), "not a Uplink"),
    ] {
        rig.etcdctl(&["put", &key, &broken]);
        let (reason, said) = admitted(&user, "/v1/uplinks/rv-07/fiber", "False");
        assert_eq!(reason, "Invalid");
        assert!(said.contains(message) && said.contains("last good version stays"), "{said}");
        assert_eq!(user.get("/v1/plans/rv-07").1, before, "nothing changed, not even the generation");
        rig.etcdctl(&["put", &key, &objects::uplink("fiber", 1).to_string()]);
        admitted(&user, "/v1/uplinks/rv-07/fiber", "True");
    }
}

#[test]
fn an_invalid_put_stays_without_effect_over_a_restart() {
    let (mut rig, user) = by_hand();
    let before = user.get("/v1/plans/rv-07").1;
    rig.etcdctl(&["put", &keys::spec(Kind::Site, "rv-07"), "{}"]);
    admitted(&user, "/v1/sites/rv-07", "False");
    rig.restart(nix::sys::signal::Signal::SIGTERM);
    let user = rig.user();
    rig.etcdctl(&["put", &keys::spec(Kind::Mode, "fleet"), &objects::mode("fleet", 1).to_string()]);
    admitted(&user, "/v1/modes/fleet", "True");
    let after = user.get("/v1/plans/rv-07").1;
    assert_eq!(after["links"], before["links"]);
    assert_eq!(slots(&after), [1]);
}

#[test]
fn an_object_that_contradicts_others_is_refused_and_they_are_not_disturbed() {
    let (rig, user) = by_hand();
    rig.etcdctl(&["put", &keys::spec(Kind::Uplink, "rv-07/other"), &objects::uplink("other", 1).to_string()]);
    let (_, message) = admitted(&user, "/v1/uplinks/rv-07/other", "False");
    assert!(message.contains("taken by Uplink `rv-07/fiber`"), "{message}");
    admitted(&user, "/v1/uplinks/rv-07/fiber", "True");
    assert_eq!(slots(&user.get("/v1/plans/rv-07").1), [1]);
}

#[test]
fn a_deleted_object_goes_from_the_plans_and_takes_its_status_with_it() {
    let (rig, user) = by_hand();
    rig.etcdctl(&["put", &keys::spec(Kind::Uplink, "rv-07/starlink"), &objects::uplink("starlink", 2).to_string()]);
    admitted(&user, "/v1/uplinks/rv-07/starlink", "True");
    assert_eq!(slots(&user.get("/v1/plans/rv-07").1), [1, 2]);
    rig.etcdctl(&["del", &keys::spec(Kind::Uplink, "rv-07/starlink")]);
    eventually("the slot has left the plan", || match slots(&user.get("/v1/plans/rv-07").1) {
        left if left == [1] => Ok(()),
        left => Err(left),
    });
    for key in [keys::status(Kind::Uplink, "rv-07/starlink"), keys::admitted(Kind::Uplink, "rv-07/starlink")] {
        eventually("nothing is said about it any more", || match rig.etcdctl(&["get", &key]) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
    }
    rig.etcdctl(&["del", &keys::spec(Kind::Site, "rv-07")]);
    eventually("the plan is withdrawn", || match user.get("/v1/plans/rv-07") {
        (404, _) => Ok(()),
        other => Err(other),
    });
    assert!(rig.etcdctl(&["get", "--prefix", &keys::plan_fragment("rv-07", "")]).is_empty());
}

#[test]
fn an_override_is_removed_when_its_time_has_run_out() {
    let (_rig, user) = by_hand();
    let spec = serde_json::json!({"site": "rv-07", "action": {"mode": "mirror"}, "durationSeconds": 1});
    let object = objects::object("Override", serde_json::json!({"name": "rv-07-mode"}), spec);
    let path = "/v1/overrides/rv-07-mode";
    assert_eq!(user.put(path, object).0, 200);
    let mode = |user: &crate::client::Client| user.get("/v1/plans/rv-07").1["steering"][0]["mode"].clone();
    eventually("the override is in force", || if mode(&user) == "mirror" { Ok(()) } else { Err(mode(&user)) });
    eventually("the override is gone", || match user.get(path) {
        (404, _) => Ok(()),
        other => Err(other),
    });
    eventually("what was declared holds again", || if mode(&user) == "training" { Ok(()) } else { Err(mode(&user)) });
}
