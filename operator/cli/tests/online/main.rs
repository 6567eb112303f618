//! The program against a server that speaks as an operator does.

mod stand_in;

use stand_in::{Answer, Asked, Authority, StandIn, silent};

fn site(ready: &str) -> String {
    format!(
        r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"Site","metadata":{{"name":"rv-07","resourceVersion":7}},
        "spec":{{"anchors":["dal-a"],"vips":["198.18.7.1"]}},"status":{{"observedGeneration":7,"conditions":[
        {{"type":"Ready","status":"{ready}","reason":"TunnelDown","message":"slot 2","lastTransitionTime":"t"}}]}}}}"#
    )
}

#[test]
fn apply_sends_everything_in_one_request_and_says_what_became_of_each() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer {
        let results = r#"[{"kind":"Site","name":"rv-07","outcome":"created"},
            {"kind":"Uplink","name":"rv-07/fiber","outcome":"unchanged"}]"#;
        Some((200, format!(r#"{{"results":{results},"resourceVersion":9}}"#)))
    });
    let manifest = folder.path().join("site.yaml");
    let text = "\
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: fiber}
spec: {slot: 1, kind: fiber, interface: wan1}
---
apiVersion: pathsteer.io/v1alpha1
kind: Site
metadata: {name: rv-07}
spec: {anchors: [dal-a], vips: [198.18.7.1]}
";
    std::fs::write(&manifest, text).unwrap();
    let config = authority.user(folder.path());
    let (code, out, err) = server.pathsteer(&config, &["apply", "--dry-run", "-f", manifest.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "site/rv-07 created (dry run)\nuplink/rv-07/fiber unchanged (dry run)\n");
    let asked = server.asked.lock().unwrap();
    let [(method, path, body)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/v1/apply?dryRun=true"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let kinds: Vec<&str> = body["items"].as_array().unwrap().iter().map(|i| i["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Site", "Uplink"]);
}

#[test]
fn diff_exits_with_0_where_nothing_differs_1_where_something_does_and_2_where_it_cannot_tell() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer {
        Some((200, format!(r#"{{"items":[{}],"resourceVersion":9}}"#, site("True"))))
    });
    let config = authority.user(folder.path());
    let manifest = folder.path().join("site.yaml");
    let diff = |text: &str| {
        std::fs::write(&manifest, text).unwrap();
        server.pathsteer(&config, &["diff", "-f", manifest.to_str().unwrap()])
    };
    let same = "apiVersion: pathsteer.io/v1alpha1\nkind: Site\nmetadata: {name: rv-07}\n\
                spec: {anchors: [dal-a], vips: [198.18.7.1]}\n";
    assert_eq!(diff(same), (0, String::new(), String::new()));
    let (code, out, err) = diff(&same.replace("198.18.7.1", "198.18.7.9"));
    assert_eq!((code, err.as_str()), (1, "pathsteer: 1 of 1 differ\n"));
    assert!(out.contains("-  - \"198.18.7.1\"\n+  - \"198.18.7.9\"\n"), "{out}");
    let (code, out, err) = diff(&same.replace("vips", "vip"));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("site.yaml:4:"), "{err}");
    assert!(server.asked.lock().unwrap().iter().all(|(method, ..)| method == "GET"), "it only asks");
}

#[test]
fn a_refusal_is_told_in_the_operators_words_and_exits_with_one() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer {
        Some((404, r#"{"status":404,"title":"Not Found","detail":"there is no Site `rv-9`"}"#.into()))
    });
    let config = authority.user(folder.path());
    let (code, out, err) = server.pathsteer(&config, &["get", "site", "rv-9"]);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", "pathsteer: there is no Site `rv-9`\n"));
}

#[test]
fn a_server_that_is_no_operator_is_named_as_such() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer { Some((502, "<html>bad gateway</html>".into())) });
    let (code, _, err) = server.pathsteer(&authority.user(folder.path()), &["get", "sites"]);
    assert_eq!(code, 1);
    assert!(err.contains("answered 502 Bad Gateway to /v1/sites"), "{err}");
}

#[test]
fn certificates_of_another_authority_are_refused_on_both_sides_with_the_fix() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (folder, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, silent);
    let (_, config) = (authority.user(folder.path()), other.user(foreign.path()));
    let (code, _, err) = server.pathsteer(&config, &["get", "sites"]);
    assert_eq!(code, 1);
    assert!(err.contains("is not from the authority in --ca"), "{err}");
    // The right authority for the server, but a certificate it did not issue.
    std::fs::copy(folder.path().join("ca.crt"), foreign.path().join("ca.crt")).unwrap();
    let (code, _, err) = server.pathsteer(&config, &["get", "sites"]);
    assert_eq!(code, 1);
    assert!(err.contains("is your certificate in --cert from this operator?"), "{err}");
    assert!(server.asked.lock().unwrap().is_empty());
}

#[test]
fn waiting_goes_on_through_a_broken_connection_until_the_object_is_ready() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let mut looks = 0;
    let server = StandIn::start(&authority, move |_: &Asked| -> Answer {
        looks += 1;
        match looks {
            1 => Some((200, site("False"))),
            2 => None,
            _ => Some((200, site("True"))),
        }
    });
    let config = authority.user(folder.path());
    let (code, out, err) = server.pathsteer(&config, &["wait", "site/rv-07", "--timeout", "30s"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "site/rv-07 Ready\n", ""));
    assert_eq!(server.asked.lock().unwrap().len(), 3);
}

#[test]
fn waiting_in_vain_says_what_is_missing_and_exits_with_one() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer { Some((200, site("False"))) });
    let config = authority.user(folder.path());
    let (code, out, err) = server.pathsteer(&config, &["wait", "site/rv-07", "--timeout", "1s"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("site/rv-07: Ready is False, TunnelDown: slot 2"), "{err}");
}

#[test]
fn an_uplink_that_does_not_exist_is_not_forced() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = StandIn::start(&authority, |_: &Asked| -> Answer {
        let uplink = r#"{"apiVersion":"pathsteer.io/v1alpha1","kind":"Uplink","metadata":{"site":"rv-07","name":"fiber"},
            "spec":{"slot":1,"kind":"fiber","interface":"wan1"}}"#;
        Some((200, format!(r#"{{"items":[{uplink}],"resourceVersion":9}}"#)))
    });
    let config = authority.user(folder.path());
    let (code, _, err) = server.pathsteer(&config, &["uplink", "force", "rv-07/fibre", "--for", "1h"]);
    assert_eq!((code, err.as_str()), (1, "pathsteer: there is no Uplink `rv-07/fibre`: did you mean `rv-07/fiber`?\n"));
    assert!(server.asked.lock().unwrap().iter().all(|(method, ..)| method == "GET"));
}

#[test]
fn a_log_is_followed_through_whatever_passes_and_nothing_of_it_is_shown_twice() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let page = |lines: &[u64], run: &str, more: bool, missed: u64| {
        let line = |number: &u64| {
            format!(r#"{{"sequence":{number},"time":"T","level":"info","target":"t","message":"{run} {number}"}}"#)
        };
        let text = lines.iter().map(line).collect::<Vec<_>>().join(",");
        let next = format!("{:016}-{}", run.len(), lines.last().unwrap_or(&4));
        Some((200, format!(r#"{{"lines":[{text}],"next":"{next}","more":{more},"missed":{missed}}}"#)))
    };
    let refused = |status: u16, detail: &str| Some((status, format!(r#"{{"title":"no","detail":"{detail}"}}"#)));
    let mut answers = vec![
        page(&[1, 2], "old", true, 0),
        page(&[3, 4], "old", false, 0),
        page(&[], "old", false, 0),
        refused(503, "rv-07 is away"),
        refused(504, "rv-07 is silent"),
        None,
        page(&[1], "restarted", false, 0),
        page(&[9], "restarted", false, 7),
        refused(404, "there is no node `rv-07`"),
    ]
    .into_iter();
    let server = StandIn::start(&authority, move |_: &Asked| -> Answer { answers.next().unwrap() });
    let config = authority.user(folder.path());
    let (code, out, err) = server.pathsteer(&config, &["logs", "rv-07", "--follow", "--tail", "2"]);
    assert_eq!(code, 1);
    let lines = ["old 1", "old 2", "old 3", "old 4", "restarted 1", "restarted 9"];
    assert_eq!(out, lines.map(|line| format!("T INFO  {line}\n")).concat());
    let told: Vec<&str> = err.lines().collect();
    let away = "pathsteer: rv-07 is away; still trying";
    let missed = "pathsteer: 7 lines of rv-07 came and went unseen";
    assert_eq!(told, [away, missed, "pathsteer: there is no node `rv-07`"]);
    let asked: Vec<String> = server.asked.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect();
    let [first, second, fourth, last] = [0, 1, 2, 8].map(|at| asked[at].strip_prefix("/v1/nodes/rv-07/logs?").unwrap());
    assert_eq!((first, second), ("tail=2", "after=0000000000000003-2"));
    assert_eq!((fourth, last), ("after=0000000000000003-4", "after=0000000000000009-9"));
    assert!(asked[2..7].iter().all(|path| *path == asked[2]), "asked again from where it was: {asked:?}");
}

#[test]
fn who_does_not_follow_gets_everything_wanted_at_once_or_the_reason() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let line = r#"{"sequence":1,"time":"T","level":"info","target":"t","message":"m"}"#;
    let page = |more| format!(r#"{{"lines":[{line}],"next":"0000000000000000-1","more":{more},"missed":0}}"#);
    let mut answers =
        vec![(200, page(true)), (200, page(false)), (503, r#"{"title":"no","detail":"rv-07 is away"}"#.into())]
            .into_iter();
    let server = StandIn::start(&authority, move |_: &Asked| -> Answer { answers.next() });
    let config = authority.user(folder.path());
    let (code, out, _) = server.pathsteer(&config, &["logs", "rv-07", "-o", "jsonl"]);
    assert_eq!((code, out), (0, format!("{line}\n{line}\n")));
    let (code, out, err) = server.pathsteer(&config, &["logs", "rv-07", "--follow"]);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", "pathsteer: rv-07 is away\n"));
    let (code, _, err) = server.pathsteer(&config, &["logs", "rv-07", "--follow", "-o", "json"]);
    assert!(code == 2 && err.contains("-o jsonl"), "{err}");
}
