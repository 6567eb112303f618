//! What a person overrides.

use clap::Subcommand;
use pathsteer_crds::ModeKind;

use crate::duration::{self, Span};

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

#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Show what people have overridden, and for how long still
    List,
    /// Go back to what is declared, for whole sites
    Clear {
        #[arg(value_name = "SITE", required_unless_present = "all")]
        sites: Vec<String>,
        /// Every site
        #[arg(long, conflicts_with = "sites")]
        all: bool,
    },
}

fn mode(word: &str) -> Result<ModeKind, String> {
    match word.to_ascii_lowercase().as_str() {
        "training" => Ok(ModeKind::Training),
        "tripwire" => Ok(ModeKind::Tripwire),
        "mirror" => Ok(ModeKind::Mirror),
        _ => Err("modes are training, tripwire and mirror".to_owned()),
    }
}
