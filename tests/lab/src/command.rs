//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::control::{LineFault, Order};
use crate::network::plan::Plan;
use crate::progress::Progress;
use crate::sandbox::{self, Lifetime};
use crate::{demo, lab, selftest};

/// A site with three uplinks, an anchor and the internet behind it, as network namespaces on this machine.
/// Needs root. Everything lives in namespaces of its own and is gone when the command ends.
#[derive(Debug, Parser)]
#[command(name = "pathsteer-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show that traffic survives: faults on a live network, every packet counted
    Demo {
        /// Only this scenario; may be given again
        #[arg(long, value_name = "NAME")]
        scenario: Vec<String>,
        /// Extra scenarios too
        #[arg(long, conflicts_with = "scenario")]
        all: bool,
        /// The manifests to apply
        #[arg(long, value_name = "DIR", default_value = "examples/rv")]
        examples: PathBuf,
        /// Where report and logs are written
        #[arg(long, value_name = "DIR", default_value = "target/demo")]
        out: PathBuf,
    },
    /// A lab that stays, to try things by hand
    #[command(subcommand)]
    Lab(LabCommand),
    /// Run a command, or a shell, in a host of the running lab
    Enter {
        host: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        words: Vec<OsString>,
    },
    /// Break a line of the running lab, or mend it
    Fault {
        /// A provider, such as fiber, starlink or cellular
        uplink: String,
        #[command(subcommand)]
        fault: LineFault,
    },
    /// Send traffic both ways through the running lab and count every packet
    Measure {
        #[arg(long, default_value_t = 8)]
        seconds: u64,
    },
    /// Prove that the lab itself works, without PathSteer in it
    Selftest {
        /// The network with many sites instead of the van's
        #[arg(long)]
        many: bool,
        /// Where logs are written
        #[arg(long, default_value = "target/demo")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Start it
    Up {
        /// Three sites and two anchors instead of the van
        #[arg(long)]
        many: bool,
        /// The manifests to apply; by default those that match the network
        #[arg(long, value_name = "DIR")]
        examples: Option<PathBuf>,
        /// Where logs are written
        #[arg(long, value_name = "DIR", default_value = "target/lab")]
        out: PathBuf,
    },
    /// End it
    Down,
    /// Say whether one runs, and what its lines do
    Status,
}

/// Runs the program and returns its exit code.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let outcome = match arguments.get(1).and_then(|word| word.to_str()) {
        Some(sandbox::INIT) => sandbox::init(&arguments[2..]),
        Some(sandbox::INSIDE) => {
            let words = std::iter::once(&arguments[0]).chain(&arguments[2..]);
            inside(Arguments::parse_from(words).command)
        }
        Some(lab::ENTER) => lab::become_command(&arguments[2..]),
        _ => outside(Arguments::parse_from(&arguments).command, &arguments[1..]),
    };
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("pathsteer-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is done by the process that a person started.
fn outside(command: Command, words: &[OsString]) -> Result<i32> {
    match command {
        Command::Demo { .. } | Command::Selftest { .. } => {
            let init = sandbox::start(words, Lifetime::WithStarter, |_| {})?;
            Ok(sandbox::wait(init)?.code().unwrap_or(130))
        }
        Command::Lab(LabCommand::Up { many, out, .. }) => lab::up(words, many, &out).map(|()| 0),
        Command::Lab(LabCommand::Down) => lab::down().map(|()| 0),
        Command::Lab(LabCommand::Status) => lab::status().map(|()| 0),
        Command::Enter { host, words } => lab::enter(&host, &words),
        Command::Fault { uplink, fault } => {
            print!("{}", lab::order(&Order::Fault { uplink, fault })?);
            Ok(0)
        }
        Command::Measure { seconds } => {
            print!("{}", lab::order(&Order::Measure { seconds })?);
            Ok(0)
        }
    }
}

/// What is done by the same command in the sandbox.
fn inside(command: Command) -> Result<i32> {
    let progress = Progress::start();
    match command {
        Command::Demo { scenario, all, examples, out } => {
            let order = demo::Order { names: &scenario, all, examples: &examples, out: &out };
            Ok(i32::from(!demo::run(&order, &progress)?))
        }
        Command::Selftest { many, out } => {
            let run = if many { selftest::run_many } else { selftest::run };
            run(&logs(&out)?, &progress).map(|()| 0)
        }
        Command::Lab(LabCommand::Up { many, examples, out }) => {
            let plan = Plan::choose(many);
            let examples = examples.unwrap_or_else(|| plan.examples.into());
            lab::live(plan, &out, &examples, &progress).map(|()| 0)
        }
        Command::Lab(_) | Command::Enter { .. } | Command::Fault { .. } | Command::Measure { .. } => {
            bail!("this is done outside of the sandbox")
        }
    }
}

/// A fresh folder for logs below `out`.
pub(crate) fn logs(out: &Path) -> Result<PathBuf> {
    let logs = out.join("logs");
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }
    std::fs::create_dir_all(&logs)?;
    Ok(logs)
}
