//! End to end: the real programs in the lab, one fleet, one case after another.

mod attack;
mod bootstrap;
mod bulk;
mod change;
mod class;
mod cli;
mod drift;
mod foreign;
mod forged;
mod inside;
mod kernel;
mod leak;
mod lease;
mod nat;
mod one_way;
mod outage;
mod packet;
mod pin;
mod shape;
mod stage;
mod store;
mod suite;
mod talk;
mod treatment;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use pathsteer_lab::sandbox::{self, Lifetime};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match words.get(1).and_then(|word| word.to_str()) {
        Some(sandbox::INIT) => sandbox::init(&words[2..]),
        Some(sandbox::INSIDE) => {
            let words = std::iter::once(&words[0]).chain(&words[2..]);
            return suite::run(Arguments::from_iter(words));
        }
        _ => {
            let arguments = Arguments::from_iter(&words);
            if arguments.list {
                return suite::run(arguments);
            }
            sandbox::start(&words[1..], Lifetime::WithStarter, |_| {})
                .and_then(sandbox::wait)
                .map(|status| status.code().unwrap_or(130))
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}
