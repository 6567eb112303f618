//! The agent's drivers and its reconcile loop against the real kernel, without an operator: every case runs the real
//! `pathsteer-agent` on a node of its own, from a plan on disk.
//!
//! All nodes live in one sandbox, so that nothing is left behind whatever happens.

mod cases;
mod dump;
mod foreign;
#[path = "../../operator/compiler/tests/compiler/random.rs"]
mod inventories;
mod life;
mod node;
mod operator;
mod plans;
mod server;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use pathsteer_lab::suite::{self, Notes};

use crate::cases::Case;

/// Set where the kernel is promised to have what distributions' kernels have.
const REQUIRE_STOCK: &str = "PATHSTEER_REQUIRE_STOCK";

fn main() -> ExitCode {
    suite::main("netns", &[], run)
}

fn run(arguments: Arguments) -> i32 {
    let notes = Notes::default();
    let trial = |&(name, case): &(&'static str, Case)| notes.trial(name, move |_| case());
    let (stock, is_stock) = cases::stock();
    // Where a stock kernel is promised they run, and fail if it is none.
    let ignored = !is_stock && std::env::var_os(REQUIRE_STOCK).is_none();
    let mut trials: Vec<Trial> = cases::all().iter().map(trial).collect();
    trials.extend(stock.iter().map(|case| trial(case).with_ignored_flag(ignored)));
    notes.conclude(&libtest_mimic::run(&arguments, trials), None)
}
