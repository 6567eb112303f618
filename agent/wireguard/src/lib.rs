//! WireGuard behind one trait.
//!
//! [`WireguardBackend`] is what an agent uses. [`KernelBackend`] is the kernel's own. [`UserspaceBackend`] keeps one worker process per slot, for kernels
//! without WireGuard; [`run_worker`] is that process. The agent starts workers and talks to them over a socket, but a
//! worker outlives its agent and is adopted by the next one: nothing that carries packets depends on the agent.

mod allowed_ips;
mod backend;
mod client;
mod config;
mod control;
mod device;
mod ecn;
mod endpoints;
mod file;
mod kernel;
mod key;
mod netns;
mod peer;
mod peers;
mod protocol;
mod train;
mod tun;
mod underlay;
mod userspace;
mod worker;

pub use backend::{BackendError, BackendKind, WireguardBackend};
pub use config::{ConfigError, DeviceConfig, PeerConfig, WorkerConfig};
pub use kernel::{KernelBackend, KernelError, probe_kernel};
pub use key::{KeyError, ensure_private_key, make_private_key, public_key};
pub use protocol::{DeviceStatus, PeerStatus, WorkerStatus};
pub use userspace::UserspaceBackend;
pub use worker::{WorkerError, run_worker};

/// The version of this program: an agent and its workers are one. With debug assertions `PATHSTEER_VERSION` says
/// otherwise, so that tests have two of them.
pub fn version() -> String {
    let other = if cfg!(debug_assertions) { std::env::var("PATHSTEER_VERSION").ok() } else { None };
    other.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}
