//! The agent's drivers and its reconcile loop against the real kernel, without an operator: every case runs the real
//! `pathsteer-agent` on a node of its own, from a plan on disk.
//!
//! All nodes live in one sandbox, so that nothing is left behind whatever happens.

mod cases;
mod dump;
mod node;
mod operator;
mod plans;

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use pathsteer_lab::sandbox::{self, Lifetime};

use crate::cases::Case;

/// Set where the kernel is promised to have what distributions' kernels have.
const REQUIRE_STOCK: &str = "PATHSTEER_REQUIRE_STOCK";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let code = match words.first().and_then(|word| word.to_str()) {
        Some(sandbox::INIT) => sandbox::init(&words[1..]),
        Some(sandbox::INSIDE) => return run(&words[1..]),
        _ if words.iter().any(|word| word == "--list") => return run(&words),
        _ => sandbox::start(&words, Lifetime::WithStarter, |_| {})
            .and_then(sandbox::wait)
            .map(|status| status.code().unwrap_or(130)),
    };
    match code {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("netns: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[OsString]) -> ExitCode {
    let arguments = Arguments::from_iter(std::iter::once(OsString::from("netns")).chain(words.iter().cloned()));
    let trial = |&(name, case): &(&'static str, Case)| {
        Trial::test(name, move || case().map_err(|error| format!("{error:#}").into()))
    };
    let (stock, is_stock) = cases::stock();
    // Where a stock kernel is promised they run, and fail if it is none.
    let ignored = !is_stock && std::env::var_os(REQUIRE_STOCK).is_none();
    let mut trials: Vec<Trial> = cases::all().iter().map(trial).collect();
    trials.extend(stock.iter().map(|case| trial(case).with_ignored_flag(ignored)));
    libtest_mimic::run(&arguments, trials).exit_code()
}
