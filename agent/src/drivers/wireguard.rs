//! WireGuard devices and peers: the kernel's own, or by the slot's worker.

use std::{collections::BTreeMap, io, path::PathBuf};

use pathsteer_crds::plan::{PlanObjects, WireguardDeviceSpec, WireguardPeerSpec};
use pathsteer_wireguard::{
    BackendError, BackendKind, DeviceConfig, KernelBackend, PeerConfig, UserspaceBackend, WireguardBackend,
    WorkerConfig, WorkerStatus, probe_kernel,
};

use tokio::task::block_in_place;

use crate::{config::WireguardChoice, fault, state::StateDir, sys::KernelError};

/// WireGuard on this node.
pub struct Wireguard {
    kind: BackendKind,
    kernel: KernelBackend,
    workers: UserspaceBackend,
    state: StateDir,
}

impl Wireguard {
    /// Asks the kernel what it can, once. Workers run this very binary and are found again below `run_dir`.
    ///
    /// # Errors
    /// The binary's own path cannot be told, or the kernel has no WireGuard and must.
    pub fn new(run_dir: PathBuf, state: StateDir, choice: WireguardChoice) -> io::Result<Self> {
        let kind = match (choice, probe_kernel()) {
            (WireguardChoice::Auto | WireguardChoice::Kernel, Ok(())) => BackendKind::Kernel,
            (WireguardChoice::Kernel, Err(error)) => {
                return Err(io::Error::other(format!("`wireguard: kernel` is configured and {error}")));
            }
            (WireguardChoice::Auto | WireguardChoice::Userspace, _) => BackendKind::Userspace,
        };
        tracing::info!(?kind, "WireGuard");
        let workers = UserspaceBackend { binary: std::env::current_exe()?, run_dir: run_dir.clone() };
        Ok(Wireguard { kind, kernel: KernelBackend { run_dir }, workers, state })
    }

    /// Who does it.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Where the worker of `slot` listens, if it has one.
    pub fn socket(&self, slot: u8) -> PathBuf {
        self.workers.socket_path(slot)
    }

    /// Who does it, and who does not.
    fn backends(&self) -> (&dyn WireguardBackend, &dyn WireguardBackend) {
        match self.kind {
            BackendKind::Kernel => (&self.kernel, &self.workers),
            BackendKind::Userspace => (&self.workers, &self.kernel),
        }
    }

    /// The status of every slot that has devices, by slot. A worker that does not answer is as good as none: what it should
    /// hold is not as declared, and telling it so says why.
    pub fn status(&self) -> BTreeMap<u8, WorkerStatus> {
        let (backend, _) = self.backends();
        let status = |slot| match block_in_place(|| backend.status(slot)) {
            Ok(_) if fault::looking(&format!("worker of slot {slot}")).is_err() => None,
            Ok(status) => Some((slot, status?)),
            Err(error) => {
                tracing::warn!(slot, error = %fail(slot, error), "WireGuard");
                None
            }
        };
        (1..=8).filter_map(status).collect()
    }

    /// Makes the devices of `slot` what `desired` declares, as one. A backend that did it before lets go first.
    ///
    /// # Errors
    /// A worker does not start, refuses, or does not end; a key cannot be read.
    pub fn put(&self, slot: u8, desired: &PlanObjects) -> Result<(), KernelError> {
        let config = self.config(slot, desired);
        if config.devices.is_empty() {
            return self.remove(slot);
        }
        let (backend, other) = self.backends();
        let ensured = block_in_place(|| other.remove(slot).and_then(|()| backend.ensure(&config)));
        ensured.map(drop).map_err(|error| fail(slot, error))
    }

    fn config(&self, slot: u8, desired: &PlanObjects) -> WorkerConfig {
        let devices = desired.wireguard_devices.iter().filter(|device| device.slot == slot);
        WorkerConfig {
            slot,
            private_key_path: self.state.wireguard_key(slot),
            state_path: self.state.wireguard_endpoints(slot),
            socket_path: self.workers.socket_path(slot),
            offload: true,
            devices: devices.map(|device| config_of(device, desired)).collect(),
        }
    }

    /// Has peers of `slot` that have never answered spoken to at once: there is a way to them that was not there before.
    pub fn hurry(&self, slot: u8) {
        let (backend, _) = self.backends();
        if let Err(error) = block_in_place(|| backend.hurry(slot)) {
            tracing::warn!(slot, error = %fail(slot, error), "WireGuard");
        }
    }

    /// Ends the devices of `slot`, whoever does them.
    ///
    /// # Errors
    /// A worker does not end.
    pub fn remove(&self, slot: u8) -> Result<(), KernelError> {
        let removed = block_in_place(|| self.workers.remove(slot).and_then(|()| self.kernel.remove(slot)));
        removed.map_err(|error| fail(slot, error))
    }
}

fn config_of(device: &WireguardDeviceSpec, desired: &PlanObjects) -> DeviceConfig {
    let peers = desired.wireguard_peers.iter().filter(|peer| peer.link == device.link);
    DeviceConfig {
        netns: device.netns.clone(),
        link: device.link.clone(),
        underlay_netns: device.underlay_netns.clone(),
        listen_port: device.listen_port,
        peers: peers
            .map(|peer| PeerConfig {
                public_key: peer.public_key.clone(),
                endpoint: peer.endpoint,
                allowed_ips: peer.allowed_ips.clone(),
                keepalive_seconds: peer.keepalive_seconds,
            })
            .collect(),
    }
}

/// Devices and peers as the workers have them. A device with a problem is not as declared and is left out, unless it has to
/// go: a worker whose TUN went first would stay for ever. What a worker does not tell (where a device's underlay is, who a
/// peer is) is taken from `declared`; so is the endpoint of a peer whose worker has the declared configuration: it may have
/// been heard from elsewhere since, which is no drift.
pub fn observe(
    wireguard: &Wireguard,
    workers: &BTreeMap<u8, WorkerStatus>,
    declared: &PlanObjects,
) -> (Vec<WireguardDeviceSpec>, Vec<WireguardPeerSpec>) {
    let (mut devices, mut peers) = (Vec::new(), Vec::new());
    for (slot, worker) in workers {
        let is_configured = worker.config_digest == wireguard.config(*slot, declared).digest();
        for device in &worker.devices {
            let known = declared.wireguard_devices.iter().find(|known| known.link == device.link);
            if device.problem.is_none() || known.is_none() {
                devices.push(WireguardDeviceSpec {
                    slot: *slot,
                    netns: device.netns.clone(),
                    link: device.link.clone(),
                    underlay_netns: known.map_or_else(String::new, |known| known.underlay_netns.clone()),
                    listen_port: device.listen_port,
                });
            }
            for peer in &device.peers {
                let known = declared
                    .wireguard_peers
                    .iter()
                    .find(|known| known.link == device.link && known.public_key == peer.public_key);
                peers.push(WireguardPeerSpec {
                    link: device.link.clone(),
                    public_key: peer.public_key.clone(),
                    node: known.map_or_else(String::new, |known| known.node.clone()),
                    endpoint: known.filter(|_| is_configured).map_or(peer.endpoint, |known| known.endpoint),
                    allowed_ips: peer.allowed_ips.clone(),
                    keepalive_seconds: peer.keepalive_seconds,
                });
            }
        }
    }
    (devices, peers)
}

fn fail(slot: u8, error: BackendError) -> KernelError {
    use std::error::Error;
    let why = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    KernelError::new(format!("wireguard of slot {slot}"), io::Error::other(why))
}
