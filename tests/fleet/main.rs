//! Many sites: three of them and two anchors in the lab at once, and an anchor with five hundred.

mod apart;
// What nodes and plans of single agents need is theirs already.
#[path = "../netns/dump.rs"]
#[expect(dead_code, reason = "only what compares anchors is used here")]
mod dump;
mod hundreds;
mod mesh;
#[path = "../netns/node.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod node;
#[path = "../netns/plans.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod plans;
mod removed;
mod snat;
mod stage;
mod suite;

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use pathsteer_lab::sandbox::{self, Lifetime};

/// Agents say how long each of their turns took.
const LOG: (&str, &str) = ("RUST_LOG", "info,pathsteer_agent::reconcile=debug");

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
            let with_log = |command: &mut std::process::Command| {
                command.env(LOG.0, LOG.1);
            };
            sandbox::start(&words[1..], Lifetime::WithStarter, with_log)
                .and_then(sandbox::wait)
                .map(|status| status.code().unwrap_or(130))
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
