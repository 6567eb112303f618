//! The worker process: one per slot.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::FlockArg;
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::control::{self, Call};
use crate::device::{Device, DeviceError, Setting};
use crate::endpoints::Endpoints;
use crate::key::{self, KeyError};
use crate::protocol::{Request, Response};
use crate::{ConfigError, DeviceStatus, WorkerConfig, WorkerStatus, file};

/// Threads of the worker: one for each direction of a busy tunnel.
const THREADS: usize = 2;
/// How often a worker looks after itself when all is well: devices as declared, endpoints saved.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks after trouble, from first to last, doubling: a predecessor lets go of its TUN in milliseconds,
/// an agent makes a new one in tenths of a second.
const LOOK_AFTER_TROUBLE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];
/// How long to wait for what a predecessor that was just killed still has: its lock, a TUN, a port.
const SETTLE: Duration = Duration::from_secs(1);
/// What is logged: gotatun tells of every handshake.
const LOG: &str = "info,gotatun=warn";

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is no worker configuration: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("slot {0} already has a worker")]
    Occupied(u8),
    #[error("a worker keeps its slot and its socket: {0} cannot change")]
    Fixed(&'static str),
    #[error("runtime: {0}")]
    Runtime(io::Error),
}

/// Runs the worker that the file at `config_path` (JSON of a [`WorkerConfig`]) describes, until SIGTERM. This is the
/// whole of a process: it sets up logging to stderr and its own runtime, so it must not be called inside one.
///
/// What goes wrong with a single device does not end the worker: the device's status says it, and the worker tries on.
///
/// # Errors
/// The configuration, the key, or the socket is unusable, or the slot already has a worker.
pub fn run_worker(config_path: &Path) -> Result<(), WorkerError> {
    // A subscriber that is there already is the caller's business.
    let _ = tracing_subscriber::fmt().with_env_filter(LOG).with_writer(io::stderr).with_ansi(false).try_init();
    // Nobody but root reads or connects to what a worker makes, from the moment it exists.
    umask(Mode::from_bits_truncate(0o077));
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::File { path, source }
    };
    let text = std::fs::read(config_path).map_err(at(config_path))?;
    let config: WorkerConfig =
        serde_json::from_slice(&text).map_err(|source| WorkerError::Parse { path: config_path.to_owned(), source })?;
    let lock_path = config.socket_path.with_extension("worker.lock");
    let deadline = Instant::now() + SETTLE;
    let _only_one = loop {
        match file::lock(&lock_path, FlockArg::LockExclusiveNonblock).map_err(at(&lock_path))? {
            Some(lock) => break lock,
            None if Instant::now() > deadline => return Err(WorkerError::Occupied(config.slot)),
            None => std::thread::sleep(LOOK_AFTER_TROUBLE[0]),
        }
    };
    let worker = Worker::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(WorkerError::Runtime)?;
    runtime.block_on(async {
        let socket_path = worker.config.socket_path.clone();
        let listener = control::listen(&socket_path).map_err(at(&socket_path))?;
        worker.run(listener).await.map_err(WorkerError::Runtime)?;
        std::fs::remove_file(&socket_path).map_err(at(&socket_path))
    })
}

/// A device as far as it got, and what keeps it from more.
#[derive(Default)]
struct Entry {
    device: Option<Device>,
    problem: Option<DeviceError>,
}

struct Worker {
    config: WorkerConfig,
    /// Of `config`, for those who wait for another one.
    digest: watch::Sender<String>,
    secret: StaticSecret,
    /// By link; exactly the configured ones.
    devices: BTreeMap<String, Entry>,
    endpoints: Endpoints,
    /// The endpoints were not saved since they changed.
    unsaved: bool,
    /// Counts what the devices refuse.
    rejected: Arc<AtomicU64>,
}

impl Worker {
    fn new(config: WorkerConfig) -> Result<Worker, WorkerError> {
        config.check()?;
        let secret = key::read_private(&config.private_key_path)?;
        let endpoints = Endpoints::load(&config.state_path);
        Ok(Worker {
            digest: watch::Sender::new(config.digest()),
            config,
            secret,
            devices: BTreeMap::new(),
            endpoints,
            unsaved: false,
            rejected: Arc::default(),
        })
    }

    /// Serves until SIGTERM.
    async fn run(mut self, listener: UnixListener) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let (calls, mut called) = mpsc::channel::<Call>(1);
        let accept = tokio::spawn(control::accept(listener, calls, self.digest.subscribe()));
        tracing::info!(slot = self.config.slot, devices = self.config.devices.len(), "worker started");
        let mut pause = Duration::ZERO;
        loop {
            let answer = tokio::select! {
                Some((request, answer)) = called.recv() => Some((self.handle(request).await, answer)),
                () = tokio::time::sleep(pause) => None,
                _ = terminate.recv() => break,
            };
            let in_order = self.look().await;
            pause = match in_order {
                true => LOOK,
                false => (pause * 2).clamp(LOOK_AFTER_TROUBLE[0], LOOK_AFTER_TROUBLE[1]),
            };
            if let Some((handled, answer)) = answer {
                let response = match handled {
                    Ok(()) => Response::Status(self.status()),
                    Err(error) => Response::Refused(error.to_string()),
                };
                // The caller may have gone away.
                let _ = answer.send(response);
            }
        }
        accept.abort();
        self.save();
        for (_, entry) in std::mem::take(&mut self.devices) {
            if let Some(device) = entry.device {
                device.close().await;
            }
        }
        tracing::info!(slot = self.config.slot, "worker ended");
        Ok(())
    }

    /// Takes over what a request changes; [`Worker::look`] then makes it so.
    async fn handle(&mut self, request: Request) -> Result<(), WorkerError> {
        let Request::Apply { config } = request else { return Ok(()) };
        config.check()?;
        if config.slot != self.config.slot {
            return Err(WorkerError::Fixed("the slot"));
        }
        if config.socket_path != self.config.socket_path {
            return Err(WorkerError::Fixed("the socket path"));
        }
        let secret = key::read_private(&config.private_key_path)?;
        let same_key = PublicKey::from(&secret) == PublicKey::from(&self.secret);
        let configured: Vec<&str> = config.devices.iter().map(|device| &*device.link).collect();
        for (link, entry) in &mut self.devices {
            if !same_key || !configured.contains(&&**link) {
                tracing::info!(link, same_key, "device closed: not configured any more, or with another key");
                if let Some(device) = entry.device.take() {
                    device.close().await;
                }
            }
        }
        self.devices.retain(|link, _| configured.contains(&&**link));
        self.config = config;
        self.secret = secret;
        let deadline = Instant::now() + SETTLE;
        while self.ensure().await && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AFTER_TROUBLE[0]).await;
        }
        self.digest.send_replace(self.config.digest());
        Ok(())
    }

    /// Puts right what is not as configured, greets whom it should, saves what it learned. False: there is trouble,
    /// look again soon.
    async fn look(&mut self) -> bool {
        self.ensure().await;
        let mut in_order = true;
        for (link, entry) in &mut self.devices {
            if let Some(device) = &mut entry.device {
                device.greet().await;
                for (public_key, endpoint) in device.endpoints() {
                    self.unsaved |= self.endpoints.learn(link, &public_key, endpoint);
                }
            }
            in_order &= entry.problem.is_none();
        }
        let devices = &self.config.devices;
        self.unsaved |= self.endpoints.retain(|link, public_key| {
            let mut peers = devices.iter().filter(|device| device.link == link).flat_map(|device| &device.peers);
            peers.any(|peer| peer.public_key == public_key)
        });
        self.save();
        in_order
    }

    /// Makes every device what is configured, as far as it goes. True: something is still in somebody else's hands.
    async fn ensure(&mut self) -> bool {
        let mut busy = false;
        let setting = Setting {
            secret: &self.secret,
            endpoints: &self.endpoints,
            offload: self.config.offload,
            rejected: &self.rejected,
        };
        for config in &self.config.devices {
            let entry = self.devices.entry(config.link.clone()).or_default();
            let result = Device::ensure(&mut entry.device, config, &setting).await;
            let (before, now) = (entry.problem.as_ref().map(explain), result.as_ref().err().map(explain));
            match &now {
                Some(problem) if before != now => tracing::warn!(link = config.link, problem, "device does not work"),
                None if before.is_some() => tracing::info!(link = config.link, "device works"),
                _ => {}
            }
            busy |= result.as_ref().is_err_and(DeviceError::is_busy);
            entry.problem = result.err();
        }
        busy
    }

    fn save(&mut self) {
        if self.unsaved {
            match self.endpoints.save(&self.config.state_path) {
                Ok(()) => self.unsaved = false,
                // Tried again at the next look.
                Err(error) => {
                    tracing::warn!(path = %self.config.state_path.display(), %error, "endpoints not saved");
                }
            }
        }
    }

    fn status(&self) -> WorkerStatus {
        let mut devices = Vec::new();
        for config in &self.config.devices {
            let entry = self.devices.get(&config.link);
            let device = entry.and_then(|entry| entry.device.as_ref());
            devices.push(DeviceStatus {
                netns: config.netns.clone(),
                link: config.link.clone(),
                listen_port: device.map_or(0, Device::listen_port),
                problem: entry.and_then(|entry| entry.problem.as_ref()).map(explain),
                peers: device.map(Device::peers).unwrap_or_default(),
            });
        }
        devices.sort_by(|a, b| a.link.cmp(&b.link));
        WorkerStatus {
            slot: self.config.slot,
            pid: std::process::id(),
            version: crate::version(),
            config_digest: self.config.digest(),
            public_key: key::to_base64(*PublicKey::from(&self.secret).as_bytes()),
            devices,
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

/// An error and what it comes from, in one line.
fn explain(error: &DeviceError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
