//! The trials: every suite on every kernel, one machine at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use libtest_mimic::Arguments;
use nix::fcntl::{Flock, FlockArg};
use pathsteer_lab::suite::Notes;

use crate::kernel::{KERNELS, Kernel};
use crate::machine::Machine;
use crate::suite::{Program, SUITES, Suite};
use crate::targets::Targets;
use crate::tools::Tools;

/// Lines of a suite's output in its failure; the whole is kept in a file.
const LINES: usize = 60;

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
    /// What is fetched stays here from run to run. No symbolic links lead to it: in a machine some would lead astray.
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
        let lines: Vec<&str> = outcome.output.lines().collect();
        let told = |line: &&&str| line.starts_with("test result:") || line.starts_with("vm:");
        let summary: Vec<&str> = lines.iter().filter(told).copied().collect();
        println!("    {:.0} s  {}", outcome.seconds, summary.join("\n          "));
        let Some(wrong) = suite.defect(&outcome) else { return Ok(()) };
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        bail!("{wrong}; all it said is in {}, it ends:\n{end}", log.display())
    }
}

impl Props {
    fn prepare() -> Result<Props> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this was built in no folder")?;
        let cache = root.join("target/vm");
        fs::create_dir_all(&cache)?;
        let cache = cache.canonicalize()?;
        let lock = File::create(cache.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let tools = Tools::fetch(&cache).context("what machines are emulated with is not to be had")?;
        let names = SUITES.iter().filter_map(|suite| match suite.program {
            Program::Target { name, .. } => Some(name),
            Program::Own => None,
        });
        Ok(Props { cache, tools, targets: Targets::build(root, names)?, _lock: lock })
    }

    fn boot(&self, kernel: &Kernel) -> Result<Machine> {
        let unpacked =
            kernel.fetch(&self.cache).with_context(|| format!("linux {} is not to be had", kernel.series))?;
        println!("linux {}: {}", kernel.series, unpacked.origin);
        let program = std::env::current_exe()?;
        let machine = Machine::boot(&self.tools, &unpacked, &program, &self.folder(kernel))?;
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
