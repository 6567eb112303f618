//! The per-node agent.

mod apply;
mod clock;
mod commands;
mod config;
mod copies;
mod counters;
mod doctor;
mod drivers;
mod fault;
mod ground;
mod helm;
mod lease_book;
mod log;
mod next_plan;
mod observe;
mod problems;
mod reconcile;
mod renewal;
mod report;
mod run;
mod segmentation;
mod session;
mod simulate;
mod state;
mod steering;
mod sys;
mod tls;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// As in `version` and in reports.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    commands::Command::parse().run()
}
