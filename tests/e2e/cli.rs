//! The command line as people use it, on the running fleet.

use anyhow::{Result, ensure};
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE};

use crate::stage::{Stage, examples, out};

/// A slot that there is not, on line 5, and a word that is none, on line 6.
const WRONG: &str = "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: fiber}
spec:
  slot: one
  knd: fiber
  interface: wan1
";
/// Valid by itself, but no card of that name will ever come.
const ABSENT: &str = "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: absent}
spec: {slot: 4, kind: wifi, interface: wlan7, address: dhcp, cost: 90}
";

pub fn case(stage: &mut Stage) -> Result<()> {
    shows(stage, &["get", "sites"], &["NAME", EDGE, "172.16.7.0/24", "True"])?;
    shows(stage, &["get", "uplinks", "-o", "name"], &["uplink/rv-07/fiber", "uplink/rv-07/cellular"])?;
    shows(stage, &["get", "uplink/rv-07/fiber", "-o", "yaml"], &["interface: wan1", "cost: 10", "type: Ready"])?;
    shows(stage, &["describe", "site", EDGE], &[EDGE, "Ready", "fiber", "voice", "dal-a"])?;
    shows(stage, &["status"], &[EDGE, ANCHOR_HOST, "edge", "anchor", "fiber+starlink", "3/3"])?;
    shows(stage, &["plan", EDGE], &["psup1", "psw1a1", "7717", "wan1"])?;
    shows(stage, &["plan", ANCHOR_HOST, "-o", "json"], &["\"psan\"", "\"psw1\""])?;
    shows(stage, &["version"], &[env!("CARGO_PKG_VERSION")])?;
    shows(stage, &["get", "paths", EDGE], &["fiber", "starlink", "cellular", ANCHOR_HOST, "up", "default"])?;
    shows(stage, &["events", "--for", &format!("site/{EDGE}")], &["Admitted True", "Ready True", "CarriedOut"])?;
    shows(stage, &["plan", EDGE, "--changes"], &["rv-07 carries out its plan"])?;

    let wrong = out().join("wrong.yaml");
    std::fs::write(&wrong, WRONG)?;
    let file = wrong.display().to_string();
    for words in [["apply", "-f", &file], ["validate", "-f", &file]] {
        fails(stage, &words, &[&format!("{file}:5:9"), &format!("{file}:6:3"), "kind"])?;
    }

    // What has been applied as it stands does not differ; what has not, does.
    let examples = examples().display().to_string();
    let diff = stage.fleet.cli(&["diff", "-f", &examples])?;
    ensure!(diff.is_empty(), "{diff}");
    let uplinks = std::fs::read_to_string(format!("{examples}/uplinks.yaml"))?;
    let dearer = out().join("dearer.yaml");
    std::fs::write(&dearer, uplinks.replacen("cost: 10", "cost: 11", 1))?;
    fails(stage, &["diff", "-f", &dearer.display().to_string()], &["1 of 3 differ"])?;
    let slower = out().join("slower.yaml");
    std::fs::write(&slower, uplinks.replacen("cost: 10", "cost: 10\n  mtu: 1400", 1))?;
    let changes = ["plan", EDGE, "--changes", "-f", &slower.display().to_string()];
    shows(stage, &changes, &["--- published/rv-07", "+++ planned/rv-07", "-  mtu: 1420", "+  mtu: 1320"])?;

    let absent = out().join("absent.yaml");
    std::fs::write(&absent, ABSENT)?;
    stage.fleet.cli(&["apply", "-f", &absent.display().to_string()])?;
    let wait = ["wait", "uplink/rv-07/absent", "--timeout", "2s"];
    fails(stage, &wait, &["still not as declared after 2s", "uplink/rv-07/absent", "wlan7"])?;
    stage.fleet.cli(&["delete", "uplink", "rv-07/absent"])?;
    fails(stage, &["get", "uplink", "rv-07/absent"], &["rv-07/absent"])
}

/// It succeeds, and every one of `wanted` is in what it prints.
fn shows(stage: &Stage, words: &[&str], wanted: &[&str]) -> Result<()> {
    let answer = stage.fleet.cli(words)?;
    let missing: Vec<_> = wanted.iter().filter(|word| !answer.contains(**word)).collect();
    ensure!(missing.is_empty(), "`pathsteer {}` does not show {missing:?}:\n{answer}", words.join(" "));
    Ok(())
}

/// It ends with 1, and every one of `wanted` is in what it complains about.
fn fails(stage: &Stage, words: &[&str], wanted: &[&str]) -> Result<()> {
    let output = stage.fleet.cli_output(words)?;
    let answer = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "`pathsteer {}` ended with {}", words.join(" "), output.status);
    let missing: Vec<_> = wanted.iter().filter(|word| !answer.contains(**word)).collect();
    ensure!(missing.is_empty(), "`pathsteer {}` does not say {missing:?}:\n{answer}", words.join(" "));
    Ok(())
}
