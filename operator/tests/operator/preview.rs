//! A dry run says what the compiler would.

use serde_json::{Value, json};

use crate::objects;
use crate::rig::Rig;

fn refused(answer: &Value) -> Vec<(String, String)> {
    let results = answer["results"].as_array().unwrap().iter();
    let refused = results.filter_map(|result| {
        Some((
            format!("{} {}", result["kind"].as_str()?, result["name"].as_str()?),
            result["refused"][0].as_str()?.into(),
        ))
    });
    refused.collect()
}

#[test]
fn a_dry_run_names_what_would_be_refused_also_of_what_it_does_not_write() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let mut item = objects::site();
    item["metadata"]["name"] = json!("rv-08");
    item["spec"]["anchors"] = json!(["dal-b"]);
    let (status, answer) = user.post("/v1/apply?dryRun=true", json!({"items": [item, objects::uplink("lte", 2)]}));
    assert_eq!(status, 200, "{answer}");
    let refused_ones = refused(&answer);
    assert_eq!(refused_ones.len(), 1, "{answer}");
    assert!(refused_ones[0].0 == "Site rv-08" && refused_ones[0].1.contains("dal-b"), "{refused_ones:?}");
    // A source that declares everything but the anchor takes it from the site that needs it.
    let all = |without: &str| {
        let mut items = objects::all()["items"].as_array().unwrap().clone();
        items.retain(|item| item["kind"] != without);
        json!({"items": items})
    };
    assert_eq!(user.post("/v1/apply?prune=fleet", all("")).0, 200);
    let (_, answer) = user.post("/v1/apply?prune=fleet&confirmPrune=true&dryRun=true", all("Anchor"));
    assert!(refused(&answer).iter().any(|(object, why)| object == "Site rv-07" && why.contains("dal-a")), "{answer}");
    assert_eq!(user.get("/v1/anchors/dal-a").0, 200);
}

#[test]
fn a_dry_run_shows_the_plan_that_a_node_would_have() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let paths = |plan: &Value| plan["paths"].as_array().map_or(0, Vec::len);
    let published = crate::rig::eventually("there is a plan", || match user.get("/v1/plans/rv-07") {
        (200, plan) => Ok(plan),
        other => Err(other),
    });
    let body = json!({"items": [objects::uplink("lte", 2)]});
    let (_, answer) = user.post("/v1/apply?dryRun=true&plan=rv-07", body.clone());
    assert_eq!((paths(&published), paths(&answer["plan"])), (1, 2), "{answer}");
    let (_, same) = user.post("/v1/apply?dryRun=true&plan=rv-07", objects::all());
    assert_eq!(same["plan"]["links"], published["links"]);
    assert_eq!(user.post("/v1/apply?dryRun=true&plan=nobody", body.clone()).1.get("plan"), None);
    assert_eq!(user.post("/v1/apply?plan=rv-07", body).0, 400, "only in a dry run");
}
