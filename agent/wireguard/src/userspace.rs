//! WireGuard in userspace: one worker process per slot.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::setsid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::client::{Client, ClientError};
use crate::protocol::{Request, Response};
use crate::{BackendError, WireguardBackend, WorkerConfig, WorkerStatus, file};

/// How long a worker may take from its start to its socket (measured: 10 ms; the rest is for a loaded machine).
const START: Duration = Duration::from_secs(5);
/// A worker's log is begun anew at a start when it is longer, in bytes.
const LOG_LIMIT: u64 = 1 << 20;

/// Workers in userspace: `binary wireguard --config FILE`, one per slot.
///
/// A worker belongs to nobody: it has its own session, outlives whoever started it, and is adopted by whoever asks
/// next. Under systemd the agent's unit therefore needs `KillMode=process`.
#[derive(Debug, Clone)]
pub struct UserspaceBackend {
    /// What to start: a program that calls [`crate::run_worker`] when its arguments are `wireguard --config FILE`.
    pub binary: PathBuf,
    /// Folder for sockets, locks, configurations and logs, such as `/run/pathsteer/wireguard`; made when missing.
    pub run_dir: PathBuf,
}

impl UserspaceBackend {
    /// Where the control socket of the slot's worker is.
    pub fn socket_path(&self, slot: u8) -> PathBuf {
        self.path(slot, "sock")
    }

    /// Returns once the worker behind `socket` has another configuration than that of `digest`, or ends. A worker of an
    /// earlier version cannot tell: of that one only its end is heard.
    ///
    /// # Errors
    /// There is no worker, or it speaks otherwise.
    pub async fn changed(socket: &Path, digest: &str) -> io::Result<()> {
        let mut worker = BufReader::new(UnixStream::connect(socket).await?);
        let mut line = serde_json::to_string(&Request::Await { digest: digest.to_owned() })?;
        line.push('\n');
        worker.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        while worker.read_line(&mut answer).await? > 0 {
            match serde_json::from_str(&answer)? {
                Response::Status(_) => return Ok(()),
                Response::Refused(reason) => tracing::debug!(reason, "a worker that cannot tell of changes"),
            }
            answer.clear();
        }
        Ok(())
    }

    fn path(&self, slot: u8, extension: &str) -> PathBuf {
        self.run_dir.join(format!("slot{slot}.{extension}"))
    }

    fn connect(&self, slot: u8) -> Result<Option<Client>, BackendError> {
        Client::connect(&self.socket_path(slot)).map_err(|error| worker_error(slot, error))
    }

    fn spawn(&self, config: &WorkerConfig) -> Result<Client, BackendError> {
        let slot = config.slot;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| BackendError::File { path, source }
        };
        let (config_path, log_path) = (self.path(slot, "json"), self.path(slot, "log"));
        let text = serde_json::to_vec(config).map_err(io::Error::from).map_err(at(&config_path))?;
        file::replace(&config_path, &text).map_err(at(&config_path))?;
        let is_long = log_path.metadata().is_ok_and(|log| log.len() > LOG_LIMIT);
        if is_long {
            std::fs::remove_file(&log_path).map_err(at(&log_path))?;
        }
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log_path).map_err(at(&log_path))?;
        let log_begin = log.metadata().map_err(at(&log_path))?.len();

        let mut command = Command::new(&self.binary);
        command.args(["wireguard", "--config"]).arg(&config_path).current_dir("/").stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(at(&log_path))?).stderr(log);
        // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
        unsafe { command.pre_exec(|| setsid().map(drop).map_err(io::Error::from)) };
        let mut child =
            command.spawn().map_err(|source| BackendError::Spawn { binary: self.binary.clone(), source })?;
        tracing::info!(slot, pid = child.id(), "worker started");

        let deadline = Instant::now() + START;
        let ended = loop {
            if let Some(client) = self.connect(slot)? {
                // Waited for as long as we live, so that it never stays a zombie; if we die first, init does.
                std::thread::spawn(move || child.wait());
                return Ok(client);
            }
            if let Some(status) = child.try_wait().map_err(at(&self.binary))? {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match ended {
            Some(status) => {
                let log = std::fs::read(&log_path).map_err(at(&log_path))?;
                let words = log.get(log_begin as usize..).unwrap_or_default();
                let last_words = String::from_utf8_lossy(words).trim().to_owned();
                Err(BackendError::Died { slot, status, last_words })
            }
            None => {
                child.kill().and_then(|()| child.wait()).map_err(at(&self.binary))?;
                Err(BackendError::Late { slot })
            }
        }
    }
}

impl WireguardBackend for UserspaceBackend {
    fn ensure(&self, config: &WorkerConfig) -> Result<WorkerStatus, BackendError> {
        let slot = config.slot;
        let expected = self.socket_path(slot);
        if config.socket_path != expected {
            return Err(BackendError::Elsewhere { slot, expected, found: config.socket_path.clone() });
        }
        let _turn = file::turn(&self.run_dir, slot)?;
        let request = Request::Apply { config: config.clone() };
        if let Some(mut worker) = self.connect(slot)? {
            // Asked how it is first: one that hangs shows by that in a fifth of the time.
            match worker.request(&Request::Status).and_then(|_| worker.request(&request)) {
                // It was just dying: the next one takes over.
                Err(ClientError::Gone) => {}
                Err(error @ ClientError::Hangs) => {
                    tracing::warn!(slot, %error, "worker replaced");
                    worker.kill().map_err(|error| worker_error(slot, error))?;
                }
                answer => return answer.map_err(|error| worker_error(slot, error)),
            }
        }
        self.spawn(config)?.request(&request).map_err(|error| worker_error(slot, error))
    }

    fn hurry(&self, _: u8) -> Result<(), BackendError> {
        // A worker notices by itself.
        Ok(())
    }

    fn status(&self, slot: u8) -> Result<Option<WorkerStatus>, BackendError> {
        let Some(mut worker) = self.connect(slot)? else { return Ok(None) };
        match worker.request(&Request::Status) {
            Ok(status) => Ok(Some(status)),
            Err(ClientError::Gone) => Ok(None),
            Err(error) => Err(worker_error(slot, error)),
        }
    }

    fn remove(&self, slot: u8) -> Result<(), BackendError> {
        let _turn = file::turn(&self.run_dir, slot)?;
        let Some(worker) = self.connect(slot)? else { return Ok(()) };
        worker.end().map_err(|error| worker_error(slot, error))?;
        tracing::info!(slot, "worker ended");
        Ok(())
    }
}

fn worker_error(slot: u8, error: ClientError) -> BackendError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    BackendError::Worker { slot, reason: format!("{error}{cause}") }
}
