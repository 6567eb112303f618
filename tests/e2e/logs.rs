//! What a node's agent logs, read from afar.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE};

use crate::stage::{PATIENCE, Stage, out};

/// Another plan for the site and for its anchor.
const POLICY: &str = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: logged}
spec:
  match: [{protocol: udp, ports: [\"4711\"]}]
";

pub fn case(stage: &mut Stage) -> Result<()> {
    let mut follower = Follower::start(stage)?;
    let before = stage.report(EDGE)?.generation;
    let manifest = out().join("logged.yaml");
    std::fs::write(&manifest, POLICY)?;
    stage.fleet.cli(&["apply", "-f", &manifest.display().to_string()])?;
    let generation = follower.until(|line| generation(line).filter(|generation| *generation > before))?;

    for node in [EDGE, ANCHOR_HOST] {
        stage.until(&format!("the log of {node} has that plan"), |stage| {
            let log = stage.fleet.cli(&["logs", node, "--tail", "1000"])?;
            Ok(log.lines().any(|line| self::generation(line) >= Some(generation)))
        })?;
    }
    let newest = stage.fleet.cli(&["logs", EDGE, "--tail", "3", "-o", "jsonl"])?;
    ensure!(newest.lines().count() == 3, "{newest}");
    stage.fleet.cli(&["delete", "trafficpolicy", "logged"])?;
    follower.until(|line| self::generation(line).filter(|later| *later > generation))?;
    Ok(())
}

/// The generation of the plan that a line says is in force from now on.
fn generation(line: &str) -> Option<i64> {
    let fields = line.split_once("INFO  plan store_epoch=")?.1;
    fields.split_once(" generation=")?.1.trim().parse().ok()
}

/// `pathsteer logs --follow` of the edge; ends with the case.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    /// Begins with the newest line there is, and has shown it.
    fn start(stage: &Stage) -> Result<Follower> {
        let mut command = stage.fleet.cli_command(&["logs", EDGE, "--follow", "--tail", "1"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let (seen, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| seen.send(line)));
        let mut follower = Follower { child, lines };
        follower.until(|_| Some(()))?;
        Ok(follower)
    }

    /// What `found` finds in one of the next lines.
    fn until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> Result<T> {
        let (deadline, mut seen) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.with_context(|| format!("it is not followed; seen:\n{}", seen.join("\n")))?;
            match found(&line) {
                Some(found) => return Ok(found),
                None => seen.push(line),
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
