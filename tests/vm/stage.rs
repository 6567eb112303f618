//! The trials: every suite on every kernel, one machine at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use libtest_mimic::Arguments;
use nix::fcntl::{Flock, FlockArg};
use pathsteer_lab::clock;
use pathsteer_lab::suite::Notes;

use crate::hotplug;
use crate::kernel::{KERNELS, Kernel};
use crate::machine::{self, Machine};
use crate::suite::{self, Program, SUITES, Suite};
use crate::targets::Targets;
use crate::tools::Tools;

/// Lines of a suite's output in its failure; the whole is kept in a file.
const LINES: usize = 60;
const LOOK: Duration = Duration::from_millis(100);

/// Runs what `arguments` select.
pub fn run(mut arguments: Arguments) -> i32 {
    // A machine takes every processor there is.
    arguments.test_threads = Some(1);
    let stage = Arc::new(Mutex::new(Stage::default()));
    let notes = Notes::default();
    let mut trials = Vec::new();
    for kernel in &KERNELS {
        for suite in SUITES.iter().filter(|suite| suite.only.is_none_or(|series| series == kernel.series)) {
            let stage = Arc::clone(&stage);
            let name = format!("on_linux_{}_{}", kernel.series.replace('.', "_"), suite.name);
            trials.push(
                notes.trial(name, move |_| stage.lock().unwrap_or_else(PoisonError::into_inner).perform(kernel, suite)),
            );
        }
    }
    let name = "a_node_that_loses_its_power_is_what_it_was_before";
    trials.push(notes.trial(name, move |_| stage.lock().unwrap_or_else(PoisonError::into_inner).lose_power()));
    notes.conclude(&libtest_mimic::run(&arguments, trials), None)
}

/// What is there to run suites with, from the first one on.
#[derive(Default)]
struct Stage {
    /// Or why it could not be had.
    props: Option<Result<Props, String>>,
    machine: Option<Booted>,
}

struct Props {
    cache: PathBuf,
    tools: Tools,
    targets: Targets,
    /// Held so that no other run of this program uses the folder, or the processors.
    _lock: Flock<File>,
}

/// The machine of a kernel, or why there is none.
struct Booted {
    series: &'static str,
    machine: Result<Machine, String>,
}

impl Stage {
    fn perform(&mut self, kernel: &'static Kernel, suite: &Suite) -> Result<()> {
        let props = self.props.get_or_insert_with(|| Props::prepare().map_err(|error| format!("{error:#}")));
        let props = props.as_ref().map_err(|why| anyhow!("{why}"))?;
        if self.machine.as_ref().is_none_or(|booted| booted.series != kernel.series) {
            // the other one first: there is no room for two
            self.machine = None;
            let machine = props.boot(kernel).map_err(|error| format!("{error:#}"));
            self.machine = Some(Booted { series: kernel.series, machine });
        }
        let booted = self.machine.as_mut().context("nothing was booted")?;
        let machine = booted.machine.as_mut().map_err(|why| anyhow!("{why}"))?;
        let outcome = match machine.run(&suite.job(&props.targets)?) {
            Ok(outcome) => outcome,
            Err(error) => {
                booted.machine = Err(format!("an earlier suite has lost the machine: {error:#}"));
                return Err(error);
            }
        };
        let log = props.folder(kernel).join(format!("{}.log", suite.name));
        fs::write(&log, &outcome.output)?;
        tell(outcome.seconds, &outcome.output);
        suite.defect(&outcome).map_or(Ok(()), |wrong| Err(failure(&wrong, &log, &outcome.output)))
    }

    /// The play around a machine, rather than in one: in a sandbox.
    fn lose_power(&mut self) -> Result<()> {
        let props = self.props.get_or_insert_with(|| Props::prepare().map_err(|error| format!("{error:#}")));
        let props = props.as_ref().map_err(|why| anyhow!("{why}"))?;
        // In the sandbox there is nobody to fetch it from.
        KERNELS.iter().try_for_each(|kernel| kernel.fetch(&props.cache).map(drop))?;
        self.machine = None;
        let log = props.cache.join("power.log");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(suite::POWER).current_dir(props.targets.root()).env("PATHSTEER_PATIENCE", "4");
        let begin = clock::now();
        let mut play = machine::start(&mut command, &log)?;
        let mut ended = None;
        clock::wait_until(begin + Duration::from_secs(suite::POWER_DEADLINE), LOOK, || {
            ended = play.try_wait().ok().flatten();
            ended.is_some()
        });
        let output = fs::read_to_string(&log)?;
        tell((clock::now() - begin).as_secs_f64(), &output);
        let wrong = match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => status.to_string(),
            None => {
                play.kill()?;
                play.wait()?;
                format!("not done after {} s", suite::POWER_DEADLINE)
            }
        };
        Err(failure(&wrong, &log, &output))
    }
}

/// What is fetched for machines stays there from run to run. No symbolic links lead to it: in a machine some would lead
/// astray.
///
/// # Errors
/// When it cannot be made.
pub fn cache() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this was built in no folder")?;
    let cache = root.join("target/vm");
    fs::create_dir_all(&cache)?;
    Ok(cache.canonicalize()?)
}

fn tell(seconds: f64, output: &str) {
    let told = |line: &&str| line.starts_with("test result:") || line.starts_with("vm:");
    let summary: Vec<&str> = output.lines().filter(told).collect();
    println!("    {seconds:.0} s  {}", summary.join("\n          "));
}

fn failure(wrong: &str, log: &Path, output: &str) -> anyhow::Error {
    let lines: Vec<&str> = output.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
    anyhow!("{wrong}; all it said is in {}, it ends:\n{end}", log.display())
}

impl Props {
    fn prepare() -> Result<Props> {
        let cache = cache()?;
        let root = cache.ancestors().nth(2).context("this was built in no folder")?;
        let lock = File::create(cache.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let tools = Tools::fetch(&cache).context("what machines are emulated with is not to be had")?;
        let names = SUITES.iter().filter_map(|suite| match suite.program {
            Program::Target { name, .. } => Some(name),
            Program::Own => None,
        });
        let targets = Targets::build(root, names)?;
        Ok(Props { cache, tools, targets, _lock: lock })
    }

    fn boot(&self, kernel: &Kernel) -> Result<Machine> {
        let unpacked =
            kernel.fetch(&self.cache).with_context(|| format!("linux {} is not to be had", kernel.series))?;
        println!("linux {}: {}", kernel.series, unpacked.origin);
        let program = std::env::current_exe()?;
        let machine = Machine::boot(&self.tools, &unpacked, &program, &self.folder(kernel), &hotplug::board())?;
        println!("linux {}: {} is up after {:.1} s", kernel.series, machine.hello.release, machine.hello.uptime);
        if machine.hello.release != unpacked.release {
            bail!("{} was to be booted, and says it is {}", unpacked.release, machine.hello.release);
        }
        Ok(machine)
    }

    /// What the machine of `kernel` says goes there.
    fn folder(&self, kernel: &Kernel) -> PathBuf {
        self.cache.join(kernel.series)
    }
}
