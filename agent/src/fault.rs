//! Faults on demand, for tests: `PATHSTEER_FAULT` says which, several with commas between. Builds without debug assertions
//! have none.
//!
//! | value | what happens |
//! |---|---|
//! | `look:2/8` | the third of eight shares of the looks at the kernel fail, each the first time it is taken |
//! | `step:2/8` | the same of the steps that change it: the objects of an apply, and the messages that these consist of |
//! | `kill:3` | the process ends by SIGKILL, right after the third object that it has changed |
//!
//! A look or step is known by its name: one that failed succeeds when it is taken again, and it belongs to the same share
//! in every process.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::{LazyLock, Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal::SIGKILL, kill},
    unistd::Pid,
};

use crate::sys::KernelError;

/// Before something of the kernel is looked at.
///
/// # Errors
/// The fault.
pub fn looking(what: &str) -> Result<(), KernelError> {
    strike(what, Kind::Look)
}

/// Before something of the kernel is changed.
///
/// # Errors
/// The fault.
pub fn stepping(what: &str) -> Result<(), KernelError> {
    strike(what, Kind::Step)
}

/// After an object was changed.
pub fn changed() {
    for fault in faults() {
        if let Fault::Kill { changes } = fault {
            let mut left = changes.lock().unwrap_or_else(PoisonError::into_inner);
            *left = left.saturating_sub(1);
            if *left == 0 {
                let _ = kill(Pid::this(), SIGKILL);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    Step,
}

enum Fault {
    Fail { kind: Kind, share: u64, of: u64, met: Mutex<BTreeSet<String>> },
    Kill { changes: Mutex<usize> },
}

static FAULTS: LazyLock<Vec<Fault>> =
    LazyLock::new(|| std::env::var("PATHSTEER_FAULT").unwrap_or_default().split(',').filter_map(parse).collect());

fn faults() -> &'static [Fault] {
    if cfg!(debug_assertions) { &FAULTS } else { &[] }
}

fn parse(words: &str) -> Option<Fault> {
    let (kind, numbers) = words.split_once(':')?;
    let kind = match kind {
        "look" => Kind::Look,
        "step" => Kind::Step,
        "kill" => return Some(Fault::Kill { changes: Mutex::new(numbers.parse().ok()?) }),
        _ => return None,
    };
    let (share, of) = numbers.split_once('/')?;
    Some(Fault::Fail { kind, share: share.parse().ok()?, of: of.parse().ok()?, met: Mutex::default() })
}

fn strike(what: &str, kind: Kind) -> Result<(), KernelError> {
    for fault in faults() {
        if let Fault::Fail { kind: struck, share, of, met } = fault
            && *struck == kind
            && share_of(what, *of) == *share
            && met.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned())
        {
            tracing::info!(what, "fault");
            return Err(KernelError::new(what, io::Error::from_raw_os_error(libc::EIO)));
        }
    }
    Ok(())
}

fn share_of(what: &str, of: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish() % of.max(1)
}
