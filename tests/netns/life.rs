//! Lives of an agent that faults are made to end or disturb (`PATHSTEER_FAULT`, see `agent/src/fault.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_lab::clock;

use crate::node::{DEADLINE, Node};

/// A program that tells of itself in a log costs nothing to look at.
const LOOK: Duration = Duration::from_millis(5);

/// How a life has ended.
#[derive(Debug)]
pub struct Life {
    /// By SIGKILL out of itself.
    pub killed: bool,
    /// What failed on purpose.
    pub faults: BTreeSet<String>,
    pub log: String,
}

impl Life {
    /// Runs the agent of `node`, whose own one must not run, with `fault` until that kills it or it has come in sync; it is
    /// killed then. `nudge` is called again and again meanwhile.
    pub fn live(node: &Node, fault: &str, mut nudge: impl FnMut() -> Result<()>) -> Result<Life> {
        let path = format!("/run/lab/logs/{}-life.log", node.host.name);
        let log = fs::File::create(&path)?;
        let mut command = node.command(&["run"]);
        command.env("PATHSTEER_FAULT", fault).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut agent = command.spawn()?;
        let mut ended = None;
        let mut nudged = Ok(());
        let done = clock::wait_until(clock::now() + DEADLINE, LOOK, || {
            ended = agent.try_wait().ok().flatten();
            nudged = nudge();
            ended.is_some() || nudged.is_err() || fs::read_to_string(&path).is_ok_and(|log| log.contains(": in sync "))
        });
        // A child that has ended cannot be killed, and need not be.
        let _ = agent.kill();
        agent.wait()?;
        nudged?;
        let log = fs::read_to_string(&path)?;
        match ended {
            Some(status) if status.signal() != Some(9) => bail!("the agent ended with {status}:\n{log}"),
            None if !done => bail!("{fault}: not in sync after {DEADLINE:?}:\n{log}"),
            _ => Ok(Life { killed: ended.is_some(), faults: faults(&log), log }),
        }
    }

    /// Runs `teardown` with `fault`, until that kills it or it is done.
    pub fn tear_down(node: &Node, fault: &str) -> Result<Life> {
        let output = node.command(&["teardown"]).env("PATHSTEER_FAULT", fault).output()?;
        let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        match output.status.signal() {
            None | Some(9) => Ok(Life { killed: output.status.signal().is_some(), faults: faults(&log), log }),
            Some(signal) => bail!("teardown died of signal {signal}:\n{log}"),
        }
    }

    /// Lives until one is not killed any more; how many were.
    pub fn until_alive(mut life: impl FnMut() -> Result<Life>) -> Result<usize> {
        // More steps than any plan here has: the agent begins with the same one again and again.
        for deaths in 0..600 {
            if !life().with_context(|| format!("after {deaths} deaths"))?.killed {
                return Ok(deaths);
            }
        }
        bail!("it never gets anywhere")
    }
}

/// What of `log` tells of faults: `… fault what="…"`.
fn faults(log: &str) -> BTreeSet<String> {
    let told = log.lines().filter_map(|line| line.split_once(": fault what=\"")?.1.strip_suffix('"'));
    told.map(|what| what.replace("\\\"", "\"")).collect()
}
