//! The demo: a site goes through faults while traffic runs, and every packet is accounted for.

mod damage;
mod fault;
mod report;
mod scenario;
mod screen;
mod table;
mod tcx;
pub mod verdict;

pub use scenario::{Expected, SCENARIOS, Scenario};

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::daemon::Daemon;
use crate::emulator::Way;
use crate::fleet::{Fleet, Paths};
use crate::measure::{DURATION, measure};
use crate::network::Network;
use crate::network::plan::{ANCHOR_HOST, EDGE, UPLINKS, VAN};
use crate::progress::Progress;
use fault::Scene;
use report::{Attempt, Report, Setup};
use verdict::{Findings, Verdict, judge};

/// Attempts at a scenario while each one proves nothing.
const ATTEMPTS: u32 = 3;
/// Lines of a log that are shown when something fails.
const LOG_LINES: usize = 15;
/// From declared to carried out takes seconds; the rest is for a loaded machine.
const READY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What is to be run, from what, and where results go.
#[derive(Debug)]
pub struct Order<'a> {
    /// Names of scenarios; empty for all that are not extra.
    pub names: &'a [String],
    /// Extra ones too.
    pub all: bool,
    /// Folder with the manifests to apply.
    pub examples: &'a Path,
    pub out: &'a Path,
}

/// Runs the demo inside the sandbox. True when everything came out as it must. Whatever fails, there is a report, and
/// the last line says how it went.
///
/// # Errors
/// When a scenario is not known or the report cannot be written.
pub fn run(order: &Order, progress: &Progress) -> Result<bool> {
    let scenarios = select(order)?;
    let logs = crate::tree::logs(order.out)?;
    let file = order.out.join("report.json");
    if file.exists() {
        // Whoever reads a report later must not find that of an earlier run.
        std::fs::remove_file(&file)?;
    }
    let mut report = Report {
        schema: 1,
        setup: Setup::default(),
        scenarios: Vec::new(),
        rejected: Vec::new(),
        repairs: Vec::new(),
        pass: true,
    };
    let outcome = play(&scenarios, order.examples, &logs, progress, &mut report);
    report.pass &= outcome.is_ok();
    report.write(&file)?;
    println!("\n{}", screen::table(&report));
    if let Err(error) = outcome {
        println!("the demo could not go on: {error:#}");
    }
    if !report.pass {
        println!("logs are in {}", logs.display());
    }
    println!("the report is {}", file.display());
    println!("demo: {}", if report.pass { "PASS" } else { "FAIL" });
    Ok(report.pass)
}

/// Brings everything up and runs the scenarios.
fn play(
    scenarios: &[&'static Scenario],
    examples: &Path,
    logs: &Path,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    progress.say("a van with three uplinks, an anchor in a data centre and the internet behind it are wired up");
    let network = Network::build(&VAN, logs)?;
    progress.say("the operator starts, keys are made and certified, the agents start");
    let mut fleet = Fleet::start(&network, logs)?;
    let scene = Scene { network: &network, fleet: &mut fleet, progress };
    let mut stage = Stage { scene, copies: None, forced: None, runs: 0 };
    let played = stage.play(scenarios, examples, report);
    if played.is_err() || !report.pass {
        show_logs(fleet.daemons());
    }
    played
}

fn select(order: &Order) -> Result<Vec<&'static Scenario>> {
    for name in order.names {
        if !SCENARIOS.iter().any(|scenario| scenario.name == name) {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario `{name}`; there are: {}", names.join(", "));
        }
    }
    let wanted = |scenario: &&Scenario| match order.names {
        [] => order.all || !scenario.extra,
        names => names.iter().any(|name| name == scenario.name),
    };
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

fn show_logs<'a>(daemons: impl Iterator<Item = &'a Daemon>) {
    for daemon in daemons {
        println!("\nthe last lines of {} ({}):", daemon.name(), daemon.log().display());
        for line in daemon.last_lines(LOG_LINES) {
            println!("  {line}");
        }
    }
}

/// The lab with everything running, and what has been asked of it so far.
struct Stage<'a> {
    scene: Scene<'a>,
    /// Whether copies were switched on or off by hand, if so.
    copies: Option<bool>,
    /// The uplink last forced, if any.
    forced: Option<&'static str>,
    runs: u64,
}

impl Stage<'_> {
    fn play(&mut self, scenarios: &[&'static Scenario], examples: &Path, report: &mut Report) -> Result<()> {
        report.setup.apply_to_ready_ms = declare(self.scene.fleet, examples, self.scene.progress)?;
        for scenario in scenarios {
            self.perform(scenario, report).with_context(|| format!("in scenario {}", scenario.name))?;
        }
        Ok(())
    }

    /// One scenario, repeated while the machine spoils it.
    fn perform(&mut self, scenario: &'static Scenario, report: &mut Report) -> Result<()> {
        self.scene.progress.say(&format!("{}: {}", scenario.name, scenario.story));
        for number in 1..=ATTEMPTS {
            let paths = self.prepare(scenario)?;
            let before = self.second_copies()?;
            self.runs += 1;
            let (scene, mut findings) = (&mut self.scene, Findings::default());
            let measurement = measure(scene.network, self.runs, DURATION, |zero| {
                findings.repairs = scenario.fault.strike(scene, &paths, zero)?;
                Ok(())
            })?;
            self.scene.fleet.check()?;
            findings.wrong.extend(in_sync(self.scene.fleet).err().map(|error| format!("afterwards: {error:#}")));
            let after = self.second_copies()?;
            let dedup_dropped = [0, 1].map(|i| (after[i].0, after[i].1.saturating_sub(before[i].1)));
            let (measurement, findings) = (&measurement, &findings);
            let attempt = Attempt { scenario, number, paths: &paths, measurement, findings, dedup_dropped };
            let verdict = judge(scenario, &paths, measurement, findings);
            self.comment(&attempt, &verdict);
            match verdict {
                Verdict::Rejected(reason) => report.rejected.push(attempt.rejected(reason)),
                Verdict::Pass | Verdict::Fail(_) => {
                    let ok = verdict == Verdict::Pass;
                    report.scenarios.extend(attempt.rows(ok));
                    report.repairs.extend(attempt.repairs());
                    report.pass &= ok;
                    return Ok(());
                }
            }
            if number == ATTEMPTS {
                report.scenarios.extend(attempt.rows(false));
                report.repairs.extend(attempt.repairs());
                report.pass = false;
            }
        }
        Ok(())
    }

    /// Brings mode and uplink to what the scenario wants, and waits until both ends follow.
    fn prepare(&mut self, scenario: &Scenario) -> Result<Paths> {
        if self.copies.unwrap_or(true) != scenario.copies {
            let mode = if scenario.copies { "mirror" } else { "training" };
            self.scene.fleet.cli(&["mode", "set", EDGE, mode])?;
            self.copies = Some(scenario.copies);
        }
        if self.forced != scenario.forced {
            match scenario.forced {
                Some(uplink) => self.scene.fleet.cli(&["uplink", "force", &format!("{EDGE}/{uplink}")])?,
                None => self.scene.fleet.cli(&["uplink", "auto", EDGE])?,
            };
            self.forced = scenario.forced;
        }
        let active = scenario.forced.unwrap_or(UPLINKS[0].name);
        let words = if scenario.copies { "copying" } else { "not copying" };
        let paths = self
            .scene
            .fleet
            .wait_for_paths(words, |paths| paths.active == active && paths.copies.is_empty() != scenario.copies)?;
        ready(self.scene.fleet)?;
        Ok(paths)
    }

    /// Second copies dropped so far by the node that receives what goes each way.
    fn second_copies(&self) -> Result<[(Way, u64); 2]> {
        let count = |node| Ok::<_, anyhow::Error>(self.scene.fleet.counters(self.scene.network.host(node))?.duplicate);
        Ok([(Way::Up, count(ANCHOR_HOST)?), (Way::Down, count(EDGE)?)])
    }

    fn comment(&self, attempt: &Attempt, verdict: &Verdict) {
        let traffic = &attempt.measurement.traffic;
        let lost = traffic.up.datagrams.lost.len() + traffic.down.datagrams.lost.len();
        let sent = traffic.up.datagrams.sent + traffic.down.datagrams.sent;
        let words = match verdict {
            Verdict::Pass if attempt.scenario.expected == Expected::Loss => {
                format!("{lost} of {sent} packets lost, as it must be")
            }
            Verdict::Pass if attempt.scenario.expected == Expected::Repaired => {
                format!("{lost} of {sent} packets lost, each while what it needs was away; none doubled, streams whole")
            }
            Verdict::Pass => format!("nobody noticed: 0 of {sent} packets lost, none doubled, streams whole"),
            Verdict::Rejected(reason) => format!("this attempt proves nothing: {reason}"),
            Verdict::Fail(why) => format!("FAILED: {}", why.join("; ")),
        };
        self.scene.progress.say(&format!("  {words}"));
    }
}

/// Applies the manifests in `examples` and waits until everything is as declared; how many milliseconds that took.
///
/// # Errors
/// When the operator refuses them, or they are not carried out in time.
pub fn declare(fleet: &mut Fleet, examples: &Path, progress: &Progress) -> Result<u64> {
    let start = clock::now();
    let folder = examples.to_string_lossy();
    progress.say(&format!("the fabric is declared: pathsteer apply -f {folder}"));
    fleet.cli(&["apply", "-f", &folder])?;
    ready(fleet)?;
    let taken = (clock::now() - start).as_millis() as u64;
    progress
        .say(&format!("every object is as declared, tunnels are up, {:.1} s after it was applied", taken as f64 / 1e3));
    Ok(taken)
}

/// Waits until every node is connected and everything is as declared.
fn in_sync(fleet: &mut Fleet) -> Result<()> {
    clock::wait_for("every node is connected", READY, LOOK, || Ok(!fleet.cli(&["status"])?.contains("not connected")))?;
    ready(fleet)
}

fn ready(fleet: &mut Fleet) -> Result<()> {
    let timeout = format!("{}s", clock::patience(READY).as_secs());
    let waited = fleet.cli(&["wait", "--for=condition=Ready", "--all", "--timeout", &timeout]);
    fleet.check()?;
    waited.map(drop)
}
