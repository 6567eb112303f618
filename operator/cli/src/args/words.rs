//! Words that several commands share.

use clap::{Args, ValueEnum};

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
    /// The table with labels, the time of the last change and the message
    Wide,
    Json,
    /// One document a line
    Jsonl,
    Yaml,
    /// `kind/name`, one a line
    Name,
}

/// Who is asked what would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Nobody: manifests are checked by themselves
    Client,
    /// The operator, which also compiles them
    Server,
}

/// Which of many.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only objects with these labels, such as `region=west,tier!=gold,env in (a,b),!old`
    #[arg(short = 'l', long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Only objects with these fields, such as `spec.kind=starlink,status.conditions.Ready=False`
    #[arg(long, value_name = "FIELDS", default_value = "", hide_default_value = true)]
    pub field_selector: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    Yaml,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogOutput {
    /// Time, level and message
    Table,
    Json,
    /// One document a line
    Jsonl,
    Yaml,
}

/// It stands in a query and in a selector.
fn source(name: &str) -> Result<String, String> {
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        true => Ok(name.to_owned()),
        false => Err("write letters, digits, `-`, `_` and `.`".to_owned()),
    }
}
