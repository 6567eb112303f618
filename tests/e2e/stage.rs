//! The fleet that the cases share, and the order in which each of them has to leave it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_crds::keys;
use pathsteer_crds::report::NodeReport;
use pathsteer_lab::demo::verdict::{Findings, Verdict, judge};
use pathsteer_lab::demo::{SCENARIOS, Scenario};
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::fleet::{Fleet, Paths};
use pathsteer_lab::host::Host;
use pathsteer_lab::measure::measure;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS, VAN};
use pathsteer_lab::{clock, suite, tree};

use crate::suite::SUITE;

/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(20);
/// A turn of an agent takes tenths of a second, a resync up to 30 s; the rest is for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Attempts at a measurement that the machine spoils.
const ATTEMPTS: u32 = 3;

/// The running fleet.
pub struct Stage {
    // Dropped first: agents end before the interfaces they hold.
    pub fleet: Fleet,
    pub network: Network,
    /// What a case wants to tell beside its verdict.
    pub remarks: Vec<String>,
    /// Spec keys of what is declared from the beginning.
    declared: BTreeSet<String>,
    runs: u64,
}

impl suite::Stage for Stage {
    /// Builds the network, starts the programs and declares the example.
    fn open(logs: &Path) -> Result<Stage> {
        let network = Network::build(&VAN, logs)?;
        let fleet = Fleet::start(&network, logs)?;
        let mut stage = Stage { fleet, network, remarks: Vec::new(), declared: BTreeSet::new(), runs: 0 };
        stage.declare()?;
        stage.declared = stage.spec_keys()?;
        Ok(stage)
    }

    fn restore(&mut self, well: bool) -> Result<()> {
        if well { self.settle() } else { self.rescue() }
    }

    fn remarks(&mut self) -> &mut Vec<String> {
        &mut self.remarks
    }
}

impl Stage {
    pub fn edge(&self) -> &Host {
        self.network.host(EDGE)
    }

    pub fn anchor(&self) -> &Host {
        self.network.host(ANCHOR_HOST)
    }

    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// The latest report of `node`.
    pub fn report(&self, node: &str) -> Result<NodeReport> {
        self.fleet.report(node)?.with_context(|| format!("{node} has not reported"))
    }

    /// Waits until `condition` holds; `what` says what it is.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Stage) -> Result<bool>) -> Result<()> {
        clock::wait_for(what, PATIENCE, LOOK, || condition(self))
    }

    /// Waits until every object is ready.
    pub fn ready(&mut self) -> Result<()> {
        let waited = self.fleet.cli(&["wait", "--for=condition=Ready", "--all", "--timeout", "60s"]);
        self.fleet.check()?;
        waited.map(drop)
    }

    /// Waits until the fiber is in use, with copies or without.
    pub fn on_fiber(&mut self, copies: bool) -> Result<Paths> {
        let words = if copies { "the fiber with copies" } else { "the fiber without copies" };
        self.fleet.wait_for_paths(words, |paths| paths.active == UPLINKS[0].name && paths.copies.is_empty() != copies)
    }

    /// Switches copies off for the rest of the case.
    pub fn without_copies(&mut self) -> Result<Paths> {
        self.fleet.cli(&["mode", "set", EDGE, "training"])?;
        self.on_fiber(false)
    }

    /// Waits until both nodes are as planned: their agents would change nothing, and have said so.
    pub fn as_planned(&mut self) -> Result<()> {
        for node in [EDGE, ANCHOR_HOST] {
            let mut pending = String::new();
            let met = self.until("nothing is left to be changed", |stage| {
                pending = stage.fleet.agent_command(stage.network.host(node), &["plan"])?;
                Ok(pending.trim() == "0 changes" && stage.report(node)?.verified)
            });
            met.with_context(|| format!("{node} would still change:\n{pending}"))?;
        }
        Ok(())
    }

    /// Measures traffic for `duration` while `meanwhile` does what it wants, and insists that nobody noticed: nothing
    /// lost, nothing doubled, streams whole. What the machine has spoilt is repeated.
    pub fn nobody_notices(
        &mut self,
        duration: Duration,
        meanwhile: impl Fn(&Network, &mut Fleet, &Paths, Duration) -> Result<()>,
    ) -> Result<()> {
        self.nothing_is_lost(duration, 0, meanwhile)
    }

    /// The same where so many packets each way may be delivered twice.
    pub fn nothing_is_lost(
        &mut self,
        duration: Duration,
        doubled: u64,
        meanwhile: impl Fn(&Network, &mut Fleet, &Paths, Duration) -> Result<()>,
    ) -> Result<()> {
        for attempt in 1..=ATTEMPTS {
            let paths = self.fleet.wait_for_paths("a path", |_| true)?;
            self.runs += 1;
            let Stage { fleet, network, .. } = self;
            let mut measurement =
                measure(network, self.runs, duration, |zero| meanwhile(network, fleet, &paths, zero))?;
            for direction in [&mut measurement.traffic.up, &mut measurement.traffic.down] {
                let datagrams = &mut direction.datagrams;
                datagrams.duplicated = if datagrams.duplicated > doubled { datagrams.duplicated } else { 0 };
            }
            match judge(steady()?, &paths, &measurement, &Findings::default()) {
                Verdict::Pass => return Ok(()),
                Verdict::Fail(why) => bail!("somebody noticed: {}", why.join("; ")),
                Verdict::Rejected(reason) => self.remark(format!("attempt {attempt} proves nothing: {reason}")),
            }
            self.rescue()?;
        }
        bail!("{ATTEMPTS} attempts have proved nothing: {}", self.remarks.join("; "))
    }

    /// Gives every line what `change` makes of its own profile, each way.
    pub fn every_line(&self, change: impl Fn(Profile) -> Profile) -> Result<()> {
        for uplink in self.network.plan().uplinks() {
            let link = self.network.link(uplink.router)?;
            for way in Way::BOTH {
                link.settings(way).set_profile(change(uplink.profile(way)));
            }
        }
        Ok(())
    }

    /// Takes back what a case has declared or made of the lines, and waits until everything is as in the beginning.
    pub fn settle(&mut self) -> Result<()> {
        self.fleet.check()?;
        self.every_line(|profile| profile)?;
        for key in self.spec_keys()? {
            if !self.declared.contains(&key) {
                self.fleet.etcdctl(&["del", &key])?;
            }
        }
        self.declare()?;
        self.on_fiber(true)?;
        self.as_planned()
    }

    /// The same after a case that failed and may have left anything.
    pub fn rescue(&mut self) -> Result<()> {
        if self.fleet.check().is_err() {
            self.fleet.restart()?;
        }
        self.settle()
    }

    fn declare(&mut self) -> Result<()> {
        let folder = examples();
        self.fleet.cli(&["apply", "-f", &folder.to_string_lossy()])?;
        self.ready()
    }

    fn spec_keys(&self) -> Result<BTreeSet<String>> {
        let answer = self.fleet.etcdctl(&["get", "--prefix", "--keys-only", &format!("{}spec/", keys::ROOT)])?;
        let keys: BTreeSet<String> = answer.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        ensure!(!keys.is_empty(), "nothing is declared");
        Ok(keys)
    }
}

/// The row that allows no disturbance whatever.
fn steady() -> Result<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == "steady").context("the lab has no scenario `steady`")
}

/// The manifests that are declared.
pub fn examples() -> PathBuf {
    tree::examples(&VAN)
}

/// Where logs go.
pub fn out() -> PathBuf {
    tree::out(SUITE.name)
}
