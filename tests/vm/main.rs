//! The product on Debian's stock kernels: each is booted once, emulated, on the host's own file system, and runs there
//! the suites that need what a stock kernel has. Nothing is installed, and nothing is left out: what cannot be fetched
//! or does not boot fails.

mod apt;
mod guest;
mod initramfs;
mod job;
mod kernel;
mod machine;
mod stage;
mod suite;
mod tools;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let outcome = match words.get(1).map(String::as_str) {
        Some(guest::INIT) => guest::live().map(|()| ExitCode::SUCCESS),
        _ => stage::run(libtest_mimic::Arguments::from_iter(words)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("vm: {error:#}");
        ExitCode::FAILURE
    })
}
