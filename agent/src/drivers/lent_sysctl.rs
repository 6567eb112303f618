//! Sysctls of links in the node's own namespace, which get back what they had.

use std::{fs, io, path::PathBuf};

use pathsteer_crds::{ownership::HOST, plan::LentSysctlSpec};

use super::Kernel;
use crate::{state::StateDir, sys::KernelError};

/// The present values of those in `declared`, and of those that were once set and have yet to be given back. A link that is
/// not there has none.
///
/// # Errors
/// What the kernel says.
pub fn observe(
    kernel: &Kernel,
    declared: &[LentSysctlSpec],
    state: &StateDir,
) -> Result<Vec<LentSysctlSpec>, KernelError> {
    if !kernel.at_home {
        return Ok(Vec::new());
    }
    let mut keys: Vec<String> = declared.iter().map(|spec| spec.key.clone()).collect();
    keys.extend(state.lent_sysctls().into_keys());
    keys.sort();
    keys.dedup();
    let read = || {
        let values = keys.into_iter().map(|key| match fs::read_to_string(path_of(&key)) {
            Ok(value) => Ok(Some(LentSysctlSpec { key, value: value.trim().to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        values.filter_map(Result::transpose).collect()
    };
    kernel.netlink(HOST)?.netns.inside(read).map_err(|error| KernelError::new("sysctl", error))
}

/// # Errors
/// What the kernel says. What is there is remembered first, or nothing is set.
pub fn put(kernel: &Kernel, spec: &LentSysctlSpec, state: &StateDir) -> Result<(), KernelError> {
    let LentSysctlSpec { key, value } = spec;
    let fail = |error| KernelError::new(format!("sysctl {key}={value}"), advise(error));
    let mut lent = state.lent_sysctls();
    if !lent.contains_key(key) {
        let found = kernel.netlink(HOST)?.netns.inside(|| fs::read_to_string(path_of(key))).map_err(fail)?;
        lent.insert(key.clone(), found.trim().to_owned());
        state.save_lent_sysctls(&lent).map_err(fail)?;
    }
    write(kernel, key, value).map_err(fail)
}

/// # Errors
/// What the kernel says.
pub fn give_back(kernel: &Kernel, spec: &LentSysctlSpec, state: &StateDir) -> Result<(), KernelError> {
    let mut lent = state.lent_sysctls();
    let Some(value) = lent.remove(&spec.key) else { return Ok(()) };
    let fail = |error| KernelError::new(format!("sysctl {}={value}", spec.key), advise(error));
    write(kernel, &spec.key, &value).map_err(fail)?;
    state.save_lent_sysctls(&lent).map_err(fail)
}

fn write(kernel: &Kernel, key: &str, value: &str) -> io::Result<()> {
    kernel.netlink(HOST).map_err(io::Error::other)?.netns.inside(|| fs::write(path_of(key), value))
}

fn path_of(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

fn advise(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EROFS) => io::Error::other("/proc/sys is read-only here: the agent needs a writable one"),
        Some(libc::ENOENT) => io::Error::other("the node has no such interface: plug it in, or correct its name"),
        _ => error,
    }
}
