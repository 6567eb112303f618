//! The program itself, where no operator is needed: what it prints where, and how it exits.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const UPLINK: &str = "\
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: fiber}
spec: {slot: 1, kind: fiber, interface: wan1}
";

/// Runs the program far from anybody's settings.
fn pathsteer(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pathsteer"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn valid_manifests_are_listed_and_exit_with_zero() {
    let (code, out, err) = texts(&pathsteer(&["validate", "-f", "-"], UPLINK));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "uplink/rv-07/fiber valid\n", ""));
}

#[test]
fn invalid_manifests_are_named_with_their_places_and_exit_with_one() {
    let text = UPLINK.replace("slot: 1", "slot: 9").replace("wan1", "ps0");
    let (code, out, err) = texts(&pathsteer(&["validate", "-f", "-"], &text));
    assert_eq!((code, out.as_str()), (1, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("stdin:4:14: spec.slot: 9 is out of range"), "{err}");
}

#[test]
fn an_invalid_manifest_is_refused_before_any_operator_is_needed() {
    let (code, _, err) = texts(&pathsteer(&["apply", "-f", "-"], &UPLINK.replace("slot", "slott")));
    assert_eq!(code, 1);
    assert!(err.contains("did you mean `slot`?"), "{err}");
}

#[test]
fn a_mistake_of_the_command_exits_with_two_and_says_what_to_write() {
    for (arguments, said) in [
        (&["validate", "-f", "/no/such/file"][..], "/no/such/file: No such file or directory"),
        (&["wait", "stie/rv-07"], "did you mean `site`?"),
        (&["status", "--ca", "/no/ca", "--cert", "c", "--key", "k"], "pathsteer: /no/ca: "),
        (&["get", "sites"], "no ca given: use --ca FILE, PATHSTEER_CA, or `ca:` in /nonexistent/.config"),
        (&["wait", "site"], "which Site? add NAME"),
        (&["mode", "set", "rv-07", "loud"], "modes are training, tripwire and mirror"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let (code, out, err) = texts(&pathsteer(arguments, ""));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}

#[test]
fn the_version_needs_no_settings() {
    let (code, out, err) = texts(&pathsteer(&["version"], ""));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("pathsteer {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_example_is_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let folders = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    // Pipelines are no manifests.
    let folders: Vec<_> = folders.filter(|folder| !folder.ends_with("gitops")).collect();
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let (code, out, err) = texts(&pathsteer(&["validate", "-f", folder.to_str().unwrap()], ""));
        assert_eq!((code, err.as_str()), (0, ""), "{folder:?}");
        assert!(out.lines().count() >= 8, "{folder:?}: {out}");
    }
}
