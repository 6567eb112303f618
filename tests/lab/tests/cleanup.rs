//! Nothing is left behind, however the lab ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_lab::clock;

const DEADLINE: Duration = Duration::from_secs(10);

/// Every process that lives in the PID namespace `namespace`.
fn inhabitants(namespace: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link.to_string_lossy() == namespace)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Network namespaces that some process lives in.
fn networks() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| Some(fs::read_link(entry.path().join("ns/net")).ok()?.to_string_lossy().into_owned()))
        .collect()
}

/// What others could see of a lab without being in it: mounts and names.
fn traces() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours =
        |line: &&str| ["/run/lab", "/run/netns/rv-07", "/run/netns/dal-a"].iter().any(|trace| line.contains(trace));
    let names =
        ["/run/netns/rv-07", "/run/netns/dal-a", "/run/lab"].into_iter().filter(|path| fs::exists(path).unwrap());
    mounts.lines().filter(ours).chain(names).map(str::to_owned).collect()
}

/// A lab in the middle of its selftest, and the name of its PID namespace.
fn running_lab(out: &std::path::Path) -> (Child, String) {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_pathsteer-lab"))
        .args(["selftest", "--out"])
        .arg(out)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(lab.stdout.take().unwrap()).lines();
    let up = lines.map_while(Result::ok).any(|line| line.ends_with("the network is up"));
    assert!(up, "the lab did not build its network");
    // The starter's children are born into the new namespace; it lives in the old one itself.
    let namespace = fs::read_link(format!("/proc/{}/ns/pid_for_children", lab.id())).unwrap();
    let namespace = namespace.to_string_lossy().into_owned();
    assert!(inhabitants(&namespace).len() >= 5, "init, the work and three DHCP servers");
    (lab, namespace)
}

fn assert_nothing_is_left(namespace: &str, inside: &BTreeSet<String>) {
    let gone =
        clock::wait_until(clock::now() + DEADLINE, Duration::from_millis(10), || inhabitants(namespace).is_empty());
    assert!(gone, "still alive: {:?}", inhabitants(namespace));
    assert!(networks().is_disjoint(inside), "a network namespace is still lived in");
    assert_eq!(traces(), [""; 0]);
}

/// Network namespaces that only the lab lives in.
fn networks_of(namespace: &str) -> BTreeSet<String> {
    let of = |pid: &String| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    inhabitants(namespace).iter().filter_map(of).map(|link| link.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_starter_killed_without_warning_leaves_no_process_and_no_namespace() {
    let out = tempfile::tempdir().unwrap();
    let (mut lab, namespace) = running_lab(out.path());
    let inside = networks_of(&namespace);
    assert!(inside.len() >= 4, "{inside:?}");
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert_nothing_is_left(&namespace, &inside);
}

#[test]
fn an_interrupted_starter_ends_only_when_everything_is_gone() {
    let out = tempfile::tempdir().unwrap();
    let (mut lab, namespace) = running_lab(out.path());
    let inside = networks_of(&namespace);
    kill(Pid::from_raw(lab.id() as i32), Signal::SIGINT).unwrap();
    let status = lab.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(inhabitants(&namespace).is_empty(), "the starter ended too early");
    assert_nothing_is_left(&namespace, &inside);
}

#[test]
fn an_init_killed_from_outside_takes_everything_with_it() {
    let out = tempfile::tempdir().unwrap();
    let (mut lab, namespace) = running_lab(out.path());
    let inside = networks_of(&namespace);
    let init = inhabitants(&namespace).into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    });
    kill(Pid::from_raw(init.expect("every PID namespace has a first process").parse().unwrap()), Signal::SIGKILL)
        .unwrap();
    assert!(!lab.wait().unwrap().success());
    assert_nothing_is_left(&namespace, &inside);
}
