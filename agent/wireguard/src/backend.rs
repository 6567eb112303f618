//! The trait an agent uses, and which implementations there are.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::kernel::KernelError;
use crate::{ConfigError, KeyError, WorkerConfig, WorkerStatus};

/// Who does WireGuard on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The kernel: an interface of kind `wireguard`.
    Kernel,
    /// A worker process per slot: a persistent TUN.
    Userspace,
}

/// WireGuard devices by slot. Calls block for milliseconds, at worst for seconds: not for an async thread.
pub trait WireguardBackend: Send + Sync {
    /// Makes the slot's devices what `config` says with the least disturbance, and returns how they are then. A device
    /// that does not work yet is no error here but has a `problem` in its status.
    fn ensure(&self, config: &WorkerConfig) -> Result<WorkerStatus, BackendError>;

    /// There is a way to the slot's peers that was not there before: those that have never answered are spoken to at once.
    fn hurry(&self, slot: u8) -> Result<(), BackendError>;

    /// How the slot's devices are; `None` if it has none.
    fn status(&self, slot: u8) -> Result<Option<WorkerStatus>, BackendError>;

    /// Ends the slot's devices. Their interfaces stay.
    fn remove(&self, slot: u8) -> Result<(), BackendError>;
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error("slot {slot}'s socket must be {expected}, where its worker is looked for, not {found}")]
    Elsewhere { slot: u8, expected: PathBuf, found: PathBuf },
    #[error("{binary} cannot be started")]
    Spawn { binary: PathBuf, source: io::Error },
    #[error("the worker of slot {slot} ended at once ({status}): {last_words}")]
    Died { slot: u8, status: ExitStatus, last_words: String },
    #[error("the worker of slot {slot} did not open its socket in time")]
    Late { slot: u8 },
    #[error("worker of slot {slot}: {reason}")]
    Worker { slot: u8, reason: String },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("kernel WireGuard")]
    Kernel(#[from] KernelError),
}
