//! WireGuard in the kernel, over its netlink interface. Every request is one system call, from a thread inside the
//! interface's namespace.

mod changes;
mod status;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use wireguard_uapi::err::{ConnectError, GetDeviceError, LinkDeviceError, SetDeviceError};
use wireguard_uapi::{DeviceInterface, RouteSocket, WgSocket, get};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::endpoints::Endpoints;
use crate::netns::Netns;
use crate::{BackendError, DeviceConfig, WireguardBackend, WorkerConfig, WorkerStatus, file, key};
use changes::Changes;

/// Why a device of the kernel's cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no interface `{link}`: {source}")]
    NoLink { link: String, source: nix::Error },
    #[error("the kernel makes no WireGuard interface: {0}")]
    Unsupported(#[from] LinkDeviceError),
    #[error("the kernel's WireGuard does not answer: {0}")]
    Connect(#[from] ConnectError),
    #[error("`{link}` cannot be read; is it a WireGuard interface? {source}")]
    Get { link: String, source: GetDeviceError },
    #[error("`{link}` cannot be set: {source}")]
    Set { link: String, source: SetDeviceError },
}

/// The kernel's own WireGuard, on interfaces that somebody else creates. Its UDP socket stays in the namespace in which
/// an interface was created.
#[derive(Debug, Clone)]
pub struct KernelBackend {
    /// Folder for what was last applied, gone after a reboot like the interfaces; made when missing.
    pub run_dir: PathBuf,
}

/// Makes a WireGuard interface in a namespace that is gone afterwards.
///
/// # Errors
/// This kernel makes none.
pub fn probe_kernel() -> Result<(), KernelError> {
    let probe = || -> Result<(), KernelError> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        RouteSocket::connect().map_err(io::Error::other)?.add_device("psprobe").map_err(KernelError::Unsupported)
    };
    let panicked = |_| Err(io::Error::other("the thread that probes the kernel panicked").into());
    std::thread::spawn(probe).join().unwrap_or_else(panicked)
}

impl KernelBackend {
    fn path(&self, slot: u8) -> PathBuf {
        self.run_dir.join(format!("kernel{slot}.json"))
    }

    /// The configuration last applied; one that cannot be read counts as none.
    fn applied(&self, slot: u8) -> Option<WorkerConfig> {
        serde_json::from_slice(&std::fs::read(self.path(slot)).ok()?).ok()
    }

    /// How the devices of `config` are; endpoints that are news are remembered.
    fn look(&self, config: &WorkerConfig, secret: &StaticSecret) -> WorkerStatus {
        let public_key = key::to_base64(PublicKey::from(secret).to_bytes());
        let mut endpoints = Endpoints::load(&config.state_path);
        let (mut devices, mut rejected, mut news) = (Vec::new(), 0, false);
        for device in &config.devices {
            let found = visit(device, |socket| {
                let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
                Ok((get(socket, &device.link)?, status::rejected(&table, &device.link)))
            });
            devices.push(match found {
                Ok((found, errors)) => {
                    rejected += errors;
                    status::device(device, &found, &public_key, SystemTime::now())
                }
                Err(error) => status::missing(device, error.to_string()),
            });
        }
        for device in &devices {
            for peer in &device.peers {
                let endpoint = peer.endpoint.into_iter();
                news |= endpoint.fold(false, |_, to| endpoints.learn(&device.link, &peer.public_key, to));
            }
        }
        let declared: BTreeSet<(&str, &str)> = config
            .devices
            .iter()
            .flat_map(|device| device.peers.iter().map(|peer| (&*device.link, &*peer.public_key)))
            .collect();
        news |= endpoints.retain(|link, public_key| declared.contains(&(link, public_key)));
        if news && let Err(error) = endpoints.save(&config.state_path) {
            tracing::warn!(path = %config.state_path.display(), %error, "endpoints not saved");
        }
        devices.sort_by(|a, b| a.link.cmp(&b.link));
        let config_digest = config.digest();
        let version = crate::version();
        WorkerStatus { slot: config.slot, pid: 0, version, config_digest, public_key, devices, rejected }
    }
}

impl WireguardBackend for KernelBackend {
    fn ensure(&self, config: &WorkerConfig) -> Result<WorkerStatus, BackendError> {
        config.check()?;
        let _turn = file::turn(&self.run_dir, config.slot)?;
        let secret = key::read_private(&config.private_key_path)?;
        let (before, endpoints) = (self.applied(config.slot), Endpoints::load(&config.state_path));
        for device in &config.devices {
            let before = before.iter().flat_map(|config| &config.devices).find(|before| before.link == device.link);
            let applied = visit(device, |socket| {
                let found = get(socket, &device.link)?;
                let remembered = |public_key: &str| endpoints.get(&device.link, public_key);
                set(socket, &device.link, &changes::changes(&found, device, before, &secret, remembered))
            });
            if let Err(error) = applied {
                tracing::warn!(link = device.link, %error, "device does not work");
            }
        }
        let path = self.path(config.slot);
        let saved = serde_json::to_vec(config).map_err(io::Error::from).and_then(|text| file::replace(&path, &text));
        saved.map_err(|source| BackendError::File { path, source })?;
        Ok(self.look(config, &secret))
    }

    fn hurry(&self, slot: u8) -> Result<(), BackendError> {
        let _turn = file::turn(&self.run_dir, slot)?;
        let Some(config) = self.applied(slot) else { return Ok(()) };
        let secret = key::read_private(&config.private_key_path)?;
        let endpoints = Endpoints::load(&config.state_path);
        for device in &config.devices {
            let hurried = visit(device, |socket| {
                let remembered = |public_key: &str| endpoints.get(&device.link, public_key);
                let found = get(socket, &device.link)?;
                set(socket, &device.link, &changes::anew(found, device, &secret, remembered))
            });
            // What is not as declared is the next turn's.
            if let Err(error) = hurried {
                tracing::debug!(link = device.link, %error, "device not hurried");
            }
        }
        Ok(())
    }

    fn status(&self, slot: u8) -> Result<Option<WorkerStatus>, BackendError> {
        let Some(config) = self.applied(slot) else { return Ok(None) };
        let secret = key::read_private(&config.private_key_path)?;
        Ok(Some(self.look(&config, &secret)))
    }

    fn remove(&self, slot: u8) -> Result<(), BackendError> {
        let Some(config) = self.applied(slot) else { return Ok(()) };
        let _turn = file::turn(&self.run_dir, slot)?;
        for device in &config.devices {
            let silenced = visit(device, |socket| {
                let found = get(socket, &device.link)?;
                set(socket, &device.link, &changes::silence(&found))
            });
            // An interface that is gone is silent.
            if let Err(error) = silenced {
                tracing::debug!(link = device.link, %error, "device not silenced");
            }
        }
        let path = self.path(slot);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BackendError::File { path, source }),
            _ => Ok(()),
        }
    }
}

/// Talks to the kernel about `device` from inside its namespace.
fn visit<T: Send>(
    device: &DeviceConfig,
    talk: impl FnOnce(&mut WgSocket) -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    Netns::open(&device.netns)?.visit(|| {
        // Asked first: the WireGuard interface says of every error that it might be one of access.
        let no_link = |source| KernelError::NoLink { link: device.link.clone(), source };
        if_nametoindex(&*device.link).map_err(no_link)?;
        talk(&mut WgSocket::connect()?)
    })
}

fn get(socket: &mut WgSocket, link: &str) -> Result<get::Device, KernelError> {
    let found = socket.get_device(DeviceInterface::from_name(link));
    found.map_err(|source| KernelError::Get { link: link.to_owned(), source })
}

fn set(socket: &mut WgSocket, link: &str, changes: &Changes) -> Result<(), KernelError> {
    if changes.is_empty() {
        return Ok(());
    }
    tracing::info!(link, peers = changes.peers.len(), "device changed");
    for message in changes.messages(link) {
        socket.set_device(message).map_err(|source| KernelError::Set { link: link.to_owned(), source })?;
    }
    Ok(())
}
