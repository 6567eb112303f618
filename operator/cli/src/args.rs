//! The command line as a value.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pathsteer_crds::ModeKind;

use crate::duration::{self, Span};

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
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        pruning: Pruning,
    },
    /// Show objects of a kind
    Get {
        #[command(flatten)]
        object: ObjectWords,
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// Only objects with these labels, such as `region=west,tier=gold`
        #[arg(short = 'l', long, value_name = "LABELS", value_delimiter = ',')]
        selector: Vec<String>,
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
    /// Show the plan compiled for a node
    Plan {
        node: String,
        #[arg(short, long, default_value = "yaml")]
        output: PlanOutput,
    },
    /// Show the whole fleet: nodes, plans, active paths, tunnels
    Status {
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Wait until objects are as declared
    Wait {
        /// What to wait for
        #[arg(long = "for", value_name = "condition=TYPE", default_value = "condition=Ready", value_parser = condition)]
        condition: String,
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

/// `KIND`, `KIND NAME` or `KIND/NAME`.
#[derive(Debug, Args)]
pub struct ObjectWords {
    /// Such as `site`, `sites` or `site/rv-07`
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Uplinks and Vlans are named SITE/NAME
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Manifests {
    /// File, folder (every .yaml, .yml and .json below it) or `-` for standard input; may be given again
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<String>,
}

/// Whether the manifests are all that somebody declares.
#[derive(Debug, Default, Args)]
pub struct Pruning {
    /// Delete what the same source has applied before and these manifests do not have
    #[arg(long, requires = "source")]
    pub prune: bool,
    /// Whose manifests these are, such as a repository's name; kept as the label `pathsteer.io/source`
    #[arg(long, value_name = "NAME", requires = "prune", value_parser = source)]
    pub source: Option<String>,
    /// Also if that is more than a quarter of a kind
    #[arg(long, requires = "prune")]
    pub confirm_prune: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
    /// `kind/name`, one a line
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    Yaml,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum ModeCommand {
    /// Set a site's mode, whatever its Mode objects say
    Set {
        site: String,
        #[arg(value_parser = mode)]
        mode: ModeKind,
        /// How long, such as 30m or 1h; without it until `mode auto`
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        time: Option<Span>,
    },
    /// Go back to what is declared
    Auto { site: String },
}

#[derive(Debug, Subcommand)]
pub enum UplinkCommand {
    /// Make this uplink the active path of every class
    Force {
        #[arg(value_name = "SITE/UPLINK")]
        uplink: String,
        /// How long, such as 30m or 1h; without it until `uplink auto`
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        time: Option<Span>,
    },
    /// Treat this uplink as failed: neither active path nor copies
    Fail {
        #[arg(value_name = "SITE/UPLINK")]
        uplink: String,
        /// How long, such as 30m or 1h; without it until `uplink auto`
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        time: Option<Span>,
    },
    /// Go back to what is declared
    Auto { site: String },
}

fn mode(word: &str) -> Result<ModeKind, String> {
    match word.to_ascii_lowercase().as_str() {
        "training" => Ok(ModeKind::Training),
        "tripwire" => Ok(ModeKind::Tripwire),
        "mirror" => Ok(ModeKind::Mirror),
        _ => Err("modes are training, tripwire and mirror".to_owned()),
    }
}

/// It stands in a query and in a selector.
fn source(name: &str) -> Result<String, String> {
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        true => Ok(name.to_owned()),
        false => Err("write letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

fn condition(words: &str) -> Result<String, String> {
    match words.split_once('=') {
        Some(("condition", kind)) if !kind.is_empty() => Ok(kind.to_owned()),
        _ => Err("write condition=Ready or another type of condition".to_owned()),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!((condition.as_str(), timeout.seconds(), all), ("Ready", 60, false));
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
