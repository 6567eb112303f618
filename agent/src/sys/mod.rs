//! Thin kernel verbs: one call, one method, errno turned into advice. They decide nothing.

pub mod clock;
pub mod interface;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod nfnetlink;
pub mod nl80211;
pub mod tun;

use std::io;

/// A kernel call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}{}", advice(source))]
pub struct KernelError {
    /// What was to be done, such as `route add default table 7701`.
    pub what: String,
    pub source: io::Error,
}

impl KernelError {
    pub fn new(what: impl Into<String>, source: io::Error) -> Self {
        KernelError { what: what.into(), source }
    }
}

/// What a person can do about an errno; empty where the kernel's own words are enough.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (run the agent as root, with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF)",
        Some(libc::EOPNOTSUPP) => " (this kernel lacks the feature; `pathsteer-agent doctor` names it)",
        Some(libc::ENOBUFS) => " (netlink overrun; the next turn dumps everything again)",
        _ => "",
    }
}
