//! The command line, and the sandbox in which everything is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use pathsteer_lab::program::Program;
use pathsteer_lab::tree;

use crate::node::Folders;
use crate::report::{self, Row};
use crate::{control, datapath, reconcile};

/// Measures what PathSteer costs, beside plain routing, plain WireGuard and others.
#[derive(Debug, Parser)]
#[command(name = "pathsteer-bench", version)]
struct Arguments {
    /// Which section of the report
    #[arg(long, value_enum, default_value_t)]
    section: Section,
    /// Only this measurement; may be given again
    #[arg(long, value_name = "NAME", value_parser = names(Section::All))]
    only: Vec<String>,
    /// Where the report is written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

/// A part of the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Every section there is
    #[default]
    All,
    /// What packets cost
    Datapath,
    /// How long the agent takes
    Reconcile,
    /// How fast what is declared arrives, and what the operator takes
    Control,
}

/// The measurements of a section.
fn names(section: Section) -> Vec<&'static str> {
    match section {
        Section::All => [&datapath::NAMES[..], &reconcile::NAMES, &control::NAMES].concat(),
        Section::Datapath => datapath::NAMES.to_vec(),
        Section::Reconcile => reconcile::NAMES.to_vec(),
        Section::Control => control::NAMES.to_vec(),
    }
}

/// Runs the program and returns its exit code: 0 when everything could be measured, whether promises are kept or not.
pub fn main(words: &[OsString]) -> ExitCode {
    let outside = |words: &[OsString]| {
        // Wrong words are said before anything begins.
        Arguments::parse_from(words);
        Ok(None)
    };
    Program { name: "pathsteer-bench", environment: &[] }
        .run(words, outside, |words| inside(&Arguments::parse_from(words)))
}

fn inside(arguments: &Arguments) -> Result<i32> {
    let folders = folders(&arguments.out)?;
    let wanted = |section: Section| -> Vec<&str> {
        let only = &arguments.only;
        let is_wanted = |name: &&str| only.is_empty() || only.iter().any(|one| one == name);
        let is_section = [Section::All, section].contains(&arguments.section);
        names(section).into_iter().filter(|name| is_section && is_wanted(name)).collect()
    };
    let begin = Instant::now();
    let mut all: Vec<Row> = Vec::new();
    let mut complete = true;
    let mut done = |name: &str, measured: Result<Vec<Row>>| {
        let rows = measured.unwrap_or_else(|error| {
            complete = false;
            vec![Row { ok: Some(false), ..Row::missing(name, "", format!("{error:#}")) }]
        });
        println!("\n{name}, {:.0} s\n{}", begin.elapsed().as_secs_f64(), report::table(&rows));
        all.extend(rows);
    };
    datapath::measure(&folders, &wanted(Section::Datapath), &mut done);
    reconcile::measure(&folders, &wanted(Section::Reconcile), &mut done);
    control::measure(&folders, &wanted(Section::Control), &mut done);
    let path = arguments.out.join("report.json");
    report::write(&all, &path)?;
    let missed = all.iter().filter(|row| row.ok == Some(false)).count();
    let promised = all.iter().filter(|row| row.ok.is_some()).count();
    println!("{missed} of {promised} promises missed; {} rows in {}", all.len(), path.display());
    Ok(i32::from(!complete))
}

fn folders(out: &Path) -> Result<Folders> {
    let programs = std::env::current_exe()?.parent().context("this is in no folder")?.to_owned();
    let folders = Folders { programs, logs: tree::logs(out)?, out: out.to_owned() };
    if !folders.agent().exists() {
        bail!("{} is missing: `make build` first", folders.agent().display());
    }
    Ok(folders)
}
