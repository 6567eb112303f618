//! The product on Debian's stock kernels: each is booted once, emulated, on the host's own file system, and runs there
//! the suites that need what a stock kernel has. Nothing is installed, and nothing is left out: what cannot be fetched
//! or does not boot fails.

mod apt;
mod guest;
mod initramfs;
mod job;
mod kernel;
mod machine;
mod mirror;

mod stage;
mod suite;
mod targets;
mod tools;
mod verdict;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use pathsteer_lab::sandbox::{self, Lifetime};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match words.get(1).and_then(|word| word.to_str()) {
        Some(guest::INIT) => guest::live().map(|()| 0),
        Some(suite::MIRROR) => sandbox::start(&words[1..], Lifetime::WithStarter, |_| {})
            .and_then(sandbox::wait)
            .map(|status| status.code().unwrap_or(130)),
        Some(sandbox::INIT) => sandbox::init(&words[2..]),
        Some(suite::VERDICT) => verdict::test().map(|()| 0),
        Some(sandbox::INSIDE) => mirror::play(Path::new("examples/rv")).map(|()| 0),
        _ => return stage::run(libtest_mimic::Arguments::from_iter(words)),
    };
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
