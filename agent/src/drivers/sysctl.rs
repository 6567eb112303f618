//! Sysctls of a namespace.

use std::{fs, io, path::PathBuf};

use pathsteer_crds::plan::SysctlSpec;

use super::Kernel;
use crate::sys::KernelError;

/// The present values of the sysctls in `declared`; those of namespaces that do not exist are left out.
///
/// # Errors
/// What the kernel says.
pub fn observe(kernel: &Kernel, declared: &[SysctlSpec]) -> Result<Vec<SysctlSpec>, KernelError> {
    let mut observed = Vec::new();
    for group in declared.chunk_by(|a, b| a.netns == b.netns) {
        let netns = &group[0].netns;
        let Ok(netlink) = kernel.netlink(netns) else { continue };
        let read = netlink.netns.inside(|| {
            let read = group.iter().map(|sysctl| {
                let value = fs::read_to_string(path_of(&sysctl.key))?.trim().to_owned();
                Ok(SysctlSpec { value, ..sysctl.clone() })
            });
            read.collect::<io::Result<Vec<_>>>()
        });
        observed.extend(read.map_err(|error| KernelError::new(format!("sysctl {netns}"), error))?);
    }
    Ok(observed)
}

/// # Errors
/// What the kernel says.
pub fn put(kernel: &Kernel, spec: &SysctlSpec) -> Result<(), KernelError> {
    let SysctlSpec { netns, key, value } = spec;
    let what = format!("sysctl {netns} {key}={value}");
    let write = || fs::write(path_of(key), value);
    kernel.netlink(netns)?.netns.inside(write).map_err(|error| KernelError::new(what, advise(error)))
}

fn path_of(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

/// A read-only /proc/sys is what a container without privileges has.
fn advise(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EROFS) => io::Error::other("/proc/sys is read-only here: the agent needs a writable one"),
        _ => error,
    }
}
