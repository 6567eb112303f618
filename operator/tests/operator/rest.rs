//! One object or many of a kind: selected, paged, created, patched, deleted, or only as if.

use serde_json::{Value, json};

use crate::objects;
use crate::rig::Rig;

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn labelled(name: &str, region: &str, copies: u8) -> Value {
    let mut mode = objects::mode(name, copies);
    mode["metadata"]["labels"] = json!({"region": region});
    mode
}

#[test]
fn lists_are_selected_by_label_and_field_and_come_in_pages() {
    let rig = Rig::start();
    let user = rig.user();
    let items: Vec<_> = (0..10).map(|n| labelled(&format!("m{n}"), ["east", "west"][n % 2], n as u8 % 3 + 1)).collect();
    assert_eq!(user.post("/v1/apply", json!({"items": items})).0, 200);
    let (_, west) = user.get("/v1/modes?labelSelector=region%3Dwest&fieldSelector=spec.copies!%3D1");
    assert_eq!(names(&west), ["m1", "m5", "m7"]);
    let (mut path, mut pages) = ("/v1/modes?labelSelector=region&limit=4".to_owned(), Vec::new());
    loop {
        let (status, page) = user.get(&path);
        assert_eq!(status, 200, "{page}");
        pages.push(names(&page).join(" "));
        // Somebody else's writes move nothing that is still to come.
        let number = pages.len();
        assert_eq!(user.put(&format!("/v1/modes/a{number}"), labelled(&format!("a{number}"), "east", 1)).0, 200);
        let Some(next) = page["continue"].as_str() else { break };
        path = format!("/v1/modes?labelSelector=region&limit=4&continue={next}");
    }
    assert_eq!(pages, ["m0 m1 m2 m3", "m4 m5 m6 m7", "m8 m9"]);
    for wrong in ["labelSelector=%3D", "fieldSelector=spec.copies", "limit=0", "limit=10001", "limit=x", "colour=red"] {
        let (status, problem) = user.get(&format!("/v1/modes?{wrong}"));
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
}

#[test]
fn what_is_new_is_created_once() {
    let rig = Rig::start();
    let user = rig.user();
    let (status, dry) = user.post("/v1/modes?dryRun=true", objects::mode("fleet", 1));
    assert_eq!((status, &dry["spec"]["copies"]), (201, &json!(1)));
    assert_eq!(user.get("/v1/modes/fleet").0, 404, "a dry run writes nothing");
    let (status, created) = user.post("/v1/modes", objects::mode("fleet", 1));
    assert_eq!(status, 201, "{created}");
    assert!(created["metadata"]["resourceVersion"].as_i64().unwrap() > 0);
    let (status, problem) = user.post("/v1/modes", objects::mode("fleet", 2));
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("there is a Mode fleet already"), "{problem}");
    assert_eq!(user.post("/v1/modes?dryRun=true", objects::mode("fleet", 2)).0, 409);
    assert_eq!(user.post("/v1/modes", created).0, 422, "it was created by the server before");
    assert_eq!(user.post("/v1/sites", objects::mode("fleet", 2)).0, 422);
    assert_eq!(user.get("/v1/modes/fleet").1["spec"]["copies"], 1);
}

#[test]
fn a_merge_patch_changes_what_it_names_and_nothing_else() {
    let rig = Rig::start();
    let user = rig.user();
    let (_, first) = user.post("/v1/modes", labelled("fleet", "west", 1));
    let (status, dry) = user.patch("/v1/modes/fleet?dryRun=true", json!({"spec": {"copies": 3}}));
    assert_eq!((status, &dry["spec"]["copies"]), (200, &json!(3)));
    let (status, patched) =
        user.patch("/v1/modes/fleet", json!({"spec": {"copies": 2}, "metadata": {"labels": {"tier": "gold"}}}));
    assert_eq!(status, 200, "{patched}");
    assert_eq!(patched["spec"]["copies"], 2);
    assert_eq!(patched["metadata"]["labels"], json!({"region": "west", "tier": "gold"}));
    let (_, without) = user.patch("/v1/modes/fleet", json!({"metadata": {"labels": {"region": null}}}));
    assert_eq!(without["metadata"]["labels"], json!({"tier": "gold"}));
    let version = &first["metadata"]["resourceVersion"];
    let stale = json!({"metadata": {"resourceVersion": version}, "spec": {"copies": 3}});
    assert_eq!(user.patch("/v1/modes/fleet", stale).0, 409);
    for wrong in [json!([1]), json!({"spec": {"copies": 9}}), json!({"metadata": {"name": "other"}}), json!({"x": 1})] {
        assert_eq!(user.patch("/v1/modes/fleet", wrong.clone()).0, 422, "{wrong}");
    }
    assert_eq!(user.patch("/v1/modes/nobody", json!({})).0, 404);
    assert_eq!(user.get("/v1/modes/fleet").1["spec"]["copies"], 2);
}

#[test]
fn patches_of_many_at_once_all_hold_though_nobody_tries_again() {
    let rig = Rig::start();
    assert_eq!(rig.user().post("/v1/modes", objects::mode("fleet", 1)).0, 201);
    // Of four who begin together one writes first, and the last of the others third after him: the operator tries oftener.
    let together = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (user, together) = (rig.user(), &together);
            scope.spawn(move || {
                let answers = [0, 1, 2, 3, 4].map(|m| {
                    together.wait();
                    user.patch("/v1/modes/fleet", json!({"metadata": {"labels": {format!("l{n}-{m}"): "x"}}}))
                });
                // Only now: whoever ended before would be waited for in vain.
                for (status, answer) in answers {
                    assert_eq!(status, 200, "{answer}");
                }
            });
        }
    });
    let (_, mode) = rig.user().get("/v1/modes/fleet");
    assert_eq!(mode["metadata"]["labels"].as_object().unwrap().len(), 20, "{mode}");
}

#[test]
fn a_delete_can_depend_on_the_version_and_can_be_only_as_if() {
    let rig = Rig::start();
    let user = rig.user();
    let (_, mode) = user.post("/v1/modes", objects::mode("fleet", 1));
    let version = mode["metadata"]["resourceVersion"].as_i64().unwrap();
    assert_eq!(user.delete(&format!("/v1/modes/fleet?resourceVersion={}", version - 1)).0, 409);
    assert_eq!(user.delete("/v1/modes/fleet?dryRun=true").0, 200);
    assert_eq!(user.get("/v1/modes/fleet").0, 200);
    assert_eq!(user.delete(&format!("/v1/modes/fleet?resourceVersion={version}")).0, 200);
    assert_eq!(user.delete("/v1/modes/fleet").0, 404);
}
