//! The command line as a value.

mod steer;
mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use steer::{ModeCommand, OverrideCommand, UplinkCommand};
pub use words::{DryRun, LogOutput, Manifests, ObjectWords, Output, PlanOutput, Pruning, Selection};

use crate::duration::{self, Span};
use crate::wait::Awaited;

/// Declares, shows and steers a PathSteer fabric.
#[derive(Debug, Parser)]
#[command(name = "pathsteer", version, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// How to reach the operator. Flags win over the environment, the environment over the file
/// `~/.config/pathsteer/config.yaml` (or `PATHSTEER_CONFIG`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Connection {
    /// Which of the contexts in the configuration file is meant, if not its current one
    #[arg(long, global = true, value_name = "NAME", env = "PATHSTEER_CONTEXT")]
    pub context: Option<String>,
    /// Where the operator listens [default: https://127.0.0.1:7443]
    #[arg(long, global = true, value_name = "URL", env = "PATHSTEER_SERVER")]
    pub server: Option<String>,
    /// The certificate authority that vouches for the operator (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "PATHSTEER_CA")]
    pub ca: Option<PathBuf>,
    /// Your certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "PATHSTEER_CERT")]
    pub cert: Option<PathBuf>,
    /// The key of your certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "PATHSTEER_KEY")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the store hold what manifests say
    Apply {
        #[command(flatten)]
        manifests: Manifests,
        /// Say what would happen, change nothing
        #[arg(long, value_name = "WHO", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
        dry_run: Option<DryRun>,
        #[command(flatten)]
        pruning: Pruning,
    },
    /// Show objects of a kind, or `paths`: every way between a site and an anchor
    Get {
        #[command(flatten)]
        object: ObjectWords,
        #[arg(short, long, default_value = "table")]
        output: Output,
        #[command(flatten)]
        selection: Selection,
        /// Go on showing what changes
        #[arg(short, long)]
        watch: bool,
    },
    /// Show everything known about one object, its node's report included
    Describe {
        #[command(flatten)]
        object: ObjectWords,
    },
    /// Delete an object, or everything manifests name
    Delete {
        /// Kind, and name in one or two words: `site rv-07`, `uplink/rv-07/fiber`
        #[arg(value_name = "KIND", required_unless_present = "files", conflicts_with = "files")]
        kind: Option<String>,
        #[arg(value_name = "NAME", requires = "kind")]
        name: Option<String>,
        /// File, folder or `-`; may be given again
        #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
        files: Vec<String>,
        /// Say what would happen, change nothing
        #[arg(long, value_name = "WHO", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
        dry_run: Option<DryRun>,
    },
    /// Change an object in your editor ($VISUAL, $EDITOR or vi)
    Edit {
        #[command(flatten)]
        object: ObjectWords,
    },
    /// Show what applying manifests would change: exit code 0 nothing, 1 something, 2 it cannot be told
    Diff {
        #[command(flatten)]
        manifests: Manifests,
        #[command(flatten)]
        pruning: Pruning,
    },
    /// Check manifests without an operator
    Validate {
        #[command(flatten)]
        manifests: Manifests,
    },
    /// Say what a kind, or a field of it, means and may be
    Explain {
        /// Such as `uplink` or `uplink.spec.cost`
        #[arg(value_name = "KIND[.FIELD...]")]
        field: String,
    },
    /// Show the plan compiled for a node, or how it would change
    Plan {
        node: String,
        #[arg(short, long, default_value = "yaml")]
        output: PlanOutput,
        /// Show what the node has yet to carry out; with manifests, what applying them would change in its plan
        #[arg(long)]
        changes: bool,
        /// File, folder or `-`; may be given again
        #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", requires = "changes")]
        files: Vec<String>,
    },
    /// Show what has happened to objects
    Events {
        /// Only of this object, such as `site/rv-07`
        #[arg(long = "for", value_name = "KIND/NAME")]
        object: Option<String>,
        /// Only of this site and what belongs to it
        #[arg(long, value_name = "SITE", conflicts_with = "object")]
        site: Option<String>,
        /// The newest so many
        #[arg(long, value_name = "NUMBER", default_value = "100")]
        limit: usize,
        /// Go on showing what happens
        #[arg(short, long)]
        follow: bool,
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Show what a node's agent has logged since its start
    Logs {
        /// The name of its Site or Anchor
        node: String,
        /// Go on showing what it logs
        #[arg(short, long)]
        follow: bool,
        /// The newest so many lines
        #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u16).range(0..=1_000))]
        tail: u16,
        #[arg(short, long, default_value = "table")]
        output: LogOutput,
    },
    /// Show the whole fleet: nodes, plans, active paths, tunnels
    Status {
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Wait until objects are as declared
    Wait {
        /// What to wait for
        #[arg(long = "for", value_name = "condition=TYPE[=STATUS]", default_value = "condition=Ready")]
        condition: Awaited,
        /// How long, such as 90s, 5m or 1h
        #[arg(long, default_value = "60s", value_parser = duration::parse)]
        timeout: Span,
        /// Every object there is
        #[arg(long, conflicts_with = "objects")]
        all: bool,
        /// Such as `site/rv-07` or `uplink/rv-07/fiber`
        #[arg(value_name = "KIND/NAME", required_unless_present = "all")]
        objects: Vec<String>,
    },
    /// Override how eagerly a site copies
    #[command(subcommand)]
    Mode(ModeCommand),
    /// Override which uplink a site uses
    #[command(subcommand)]
    Uplink(UplinkCommand),
    /// Show and clear what people have overridden
    #[command(subcommand)]
    Override(OverrideCommand),
    /// Show the kinds and what can be done with them
    ApiResources {
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Show the operators in the configuration file, or change which one is current
    Context {
        /// The one to be current
        name: Option<String>,
    },
    /// Write completions for a shell: `pathsteer completion bash > /etc/bash_completion.d/pathsteer`
    Completion {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command
    Manual {
        /// Where they are written
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Show the versions of this program and of the operator
    Version,
    /// Make a private key and a certificate request for a person
    Csr {
        /// Who it is for; the certificate's common name
        name: String,
        /// Where NAME.key and NAME.csr are written
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::ModeKind;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn connection_flags_are_taken_before_and_after_the_command() {
        for line in ["pathsteer --server https://op:1 status", "pathsteer status --server https://op:1"] {
            let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
            assert_eq!(arguments.connection.server.as_deref(), Some("https://op:1"), "{line}");
        }
    }

    #[test]
    fn waiting_defaults_to_a_minute_for_ready_and_needs_to_know_what_for() {
        let Command::Wait { condition, timeout, all, objects } = parse("pathsteer wait site/rv-07").unwrap() else {
            panic!("not a wait");
        };
        assert_eq!((condition.to_string().as_str(), timeout.seconds(), all), ("Ready", 60, false));
        assert_eq!(objects, ["site/rv-07"]);
        assert!(parse("pathsteer wait").is_err());
        assert!(parse("pathsteer wait --all site/rv-07").is_err());
        assert!(parse("pathsteer wait --for=ready site/rv-07").is_err());
    }

    #[test]
    fn deleting_takes_a_name_or_files_but_not_both_nor_neither() {
        assert!(parse("pathsteer delete site rv-07").is_ok());
        assert!(parse("pathsteer delete -f a.yaml -f b.yaml").is_ok());
        assert!(parse("pathsteer delete").is_err());
        assert!(parse("pathsteer delete site rv-07 -f a.yaml").is_err());
    }

    #[test]
    fn modes_are_words_and_times_have_units() {
        assert!(matches!(
            parse("pathsteer mode set rv-07 Mirror --for 90m").unwrap(),
            Command::Mode(ModeCommand::Set { mode: ModeKind::Mirror, time: Some(time), .. }) if time.seconds() == 5_400
        ));
        assert!(parse("pathsteer mode set rv-07 loud").is_err());
        assert!(parse("pathsteer uplink force rv-07/lte --for 10").is_err());
    }
}
