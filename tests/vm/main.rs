//! The product on Debian's stock kernels: each is booted once, emulated, on the host's own file system, and runs there
//! the suites that need what a stock kernel has. Nothing is installed, and nothing is left out: what cannot be fetched
//! or does not boot fails.

mod apt;
#[path = "../netns/dump.rs"]
#[allow(dead_code, reason = "the agent in namespaces uses all of it")]
mod dump;
mod edge;
mod guest;
mod hotplug;
mod initramfs;
mod job;
mod kernel;
mod machine;
mod mirror;
mod monitor;
mod node;
#[path = "../netns/plans.rs"]
#[allow(dead_code, reason = "the agent in namespaces uses all of it")]
mod plans;
mod power;
mod stage;
mod suite;
mod targets;
mod tools;
mod verdict;
mod wifi;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use pathsteer_lab::program::Program;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    Program { name: "vm", environment: &[] }.run(&words, outside, inside)
}

/// What needs a sandbox: the whole product.
fn inside(words: &[OsString]) -> Result<i32> {
    let examples = Path::new("examples/rv");
    match words.get(1).and_then(|word| word.to_str()) {
        Some(suite::POWER) => power::play(examples, &stage::cache()?)?,
        _ => mirror::play(examples)?,
    }
    Ok(0)
}

/// Everything else.
fn outside(words: &[OsString]) -> Result<Option<i32>> {
    match words.get(1).and_then(|word| word.to_str()) {
        Some(suite::MIRROR | suite::POWER) => return Ok(None),
        Some(guest::INIT) => guest::live()?,
        Some(suite::VERDICT) => verdict::test()?,
        Some(suite::HOTPLUG) => hotplug::play()?,
        Some(suite::WIFI) => wifi::play()?,
        _ => return Ok(Some(stage::run(libtest_mimic::Arguments::from_iter(words)))),
    }
    Ok(Some(0))
}
