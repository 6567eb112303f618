//! WireGuard behind one trait.
//!
//! [`WireguardBackend`] is what an agent uses. [`UserspaceBackend`] keeps one worker process per slot, for kernels
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
mod key;
mod netns;
mod peer;
mod peers;
mod protocol;
mod tun;
mod underlay;
mod worker;

pub use backend::{BackendError, UserspaceBackend, WireguardBackend};
pub use config::{ConfigError, DeviceConfig, PeerConfig, WorkerConfig};
pub use key::{KeyError, ensure_private_key};
pub use protocol::{DeviceStatus, PeerStatus, WorkerStatus};
pub use worker::{WorkerError, run_worker};
