//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::control::{LineFault, Order};
use crate::network::plan::Plan;
use crate::program::Program;
use crate::progress::Progress;
use crate::{demo, lab, selftest, tree};

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
pub fn main(words: &[OsString]) -> ExitCode {
    Program { name: "pathsteer-lab", environment: &[] }
        .run(words, outside, |words| inside(Arguments::parse_from(words).command))
}

/// What is done by the process that a person started, unless it is done in the sandbox.
fn outside(words: &[OsString]) -> Result<Option<i32>> {
    if words.get(1).is_some_and(|word| word == lab::ENTER) {
        return lab::become_command(&words[2..]).map(Some);
    }
    match Arguments::parse_from(words).command {
        Command::Demo { .. } | Command::Selftest { .. } => return Ok(None),
        Command::Lab(LabCommand::Up { many, out, .. }) => lab::up(&words[1..], many, &out)?,
        Command::Lab(LabCommand::Down) => lab::down()?,
        Command::Lab(LabCommand::Status) => lab::status()?,
        Command::Enter { host, words } => return lab::enter(&host, &words).map(Some),
        Command::Fault { uplink, fault } => print!("{}", lab::order(&Order::Fault { uplink, fault })?),
        Command::Measure { seconds } => print!("{}", lab::order(&Order::Measure { seconds })?),
    }
    Ok(Some(0))
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
            run(&tree::logs(&out)?, &progress).map(|()| 0)
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
