//! What a worker shall be: its devices and their peers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use pathsteer_crds::canonical;
use serde::{Deserialize, Serialize};

use crate::key;

/// Everything one worker is told. All its devices share the slot's key pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfig {
    /// 1 to 8.
    pub slot: u8,
    /// File with the private key, see [`crate::ensure_private_key`]; read again at every apply.
    pub private_key_path: PathBuf,
    /// File in which the worker keeps the last endpoint of each peer.
    pub state_path: PathBuf,
    /// The worker's control socket; [`crate::UserspaceBackend::socket_path`] says where it must be.
    pub socket_path: PathBuf,
    /// Big TCP and UDP sends pass the TUN in one piece and are segmented by the worker: fewer system calls. Default true;
    /// without it, what needs segmenting is slower.
    #[serde(default = "default_offload")]
    pub offload: bool,
    pub devices: Vec<DeviceConfig>,
}

fn default_offload() -> bool {
    true
}

/// A WireGuard interface that somebody else creates: a persistent TUN for a worker, or the kernel's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceConfig {
    /// Namespace of the TUN, a name below `/run/netns`; empty is the one the worker was started in.
    pub netns: String,
    /// The TUN; unique within a worker.
    pub link: String,
    /// Namespace in which the UDP socket is born, named like `netns`.
    pub underlay_netns: String,
    /// UDP port on all addresses; 0 takes any free one.
    pub listen_port: u16,
    pub peers: Vec<PeerConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerConfig {
    /// Base64, 32 bytes; unique within a device.
    pub public_key: String,
    /// Where to send first. A peer that is heard from elsewhere is answered there, but for the endpoint that it was sent
    /// to before this one was declared. Absent: the remembered endpoint,
    /// or none until the peer is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// Destinations sent to this peer and the only sources accepted from it.
    pub allowed_ips: Vec<Ipv4Net>,
    /// Seconds between packets at least; 0 is off. A peer with keepalive is also greeted until it answers.
    pub keepalive_seconds: u16,
}

/// Why a configuration is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("slot {0} is out of range: slots are 1 to 8")]
    Slot(u8),
    #[error("two devices on link `{0}`")]
    DoubleLink(String),
    #[error("device `{link}` has two peers with the public key {public_key}")]
    DoublePeer { link: String, public_key: String },
    #[error("device `{link}` gives {network} to two peers: only the last would get its packets")]
    DoubleAllowedIp { link: String, network: Ipv4Net },
    #[error("device `{link}`: `{public_key}` is not a public key: 32 bytes in base64 are needed")]
    PublicKey { link: String, public_key: String },
}

impl WorkerConfig {
    /// Checks what no kernel has to be asked for.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=8).contains(&self.slot) {
            return Err(ConfigError::Slot(self.slot));
        }
        let mut links = BTreeSet::new();
        for device in &self.devices {
            let link = device.link.clone();
            if !links.insert(&device.link) {
                return Err(ConfigError::DoubleLink(link));
            }
            let (mut keys, mut networks) = (BTreeSet::new(), BTreeSet::new());
            for peer in &device.peers {
                let public_key = peer.public_key.clone();
                if key::parse_public(&public_key).is_none() {
                    return Err(ConfigError::PublicKey { link, public_key });
                }
                if !keys.insert(&peer.public_key) {
                    return Err(ConfigError::DoublePeer { link, public_key });
                }
                if let Some(network) = peer.allowed_ips.iter().find(|network| !networks.insert(network.trunc())) {
                    return Err(ConfigError::DoubleAllowedIp { link, network: *network });
                }
            }
        }
        Ok(())
    }

    /// SHA-256 over the canonical JSON: equal digests, equal configurations.
    pub fn digest(&self) -> String {
        canonical::sha256(canonical::to_json(self).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(peers: Vec<PeerConfig>) -> WorkerConfig {
        WorkerConfig {
            slot: 1,
            private_key_path: "/k".into(),
            state_path: "/s".into(),
            socket_path: "/c".into(),
            offload: true,
            devices: vec![DeviceConfig {
                netns: String::new(),
                link: "psw1".into(),
                underlay_netns: String::new(),
                listen_port: 51_821,
                peers,
            }],
        }
    }

    fn peer(byte: u8, network: &str) -> PeerConfig {
        PeerConfig {
            public_key: key::to_base64([byte; 32]),
            endpoint: None,
            allowed_ips: vec![network.parse().unwrap()],
            keepalive_seconds: 0,
        }
    }

    #[test]
    fn a_network_may_belong_to_one_peer_of_a_device_only() {
        assert!(config(vec![peer(1, "10.0.0.1/32"), peer(2, "10.0.0.2/32")]).check().is_ok());
        let error = config(vec![peer(1, "10.0.0.1/32"), peer(2, "10.0.0.1/32")]).check().unwrap_err();
        assert!(matches!(error, ConfigError::DoubleAllowedIp { .. }), "{error}");
    }

    #[test]
    fn a_public_key_that_is_not_one_is_refused() {
        let mut bad = peer(1, "10.0.0.1/32");
        bad.public_key = "c2hvcnQ=".into();
        assert!(matches!(config(vec![bad]).check(), Err(ConfigError::PublicKey { .. })));
        assert!(matches!(
            config(vec![peer(1, "10.0.0.1/32"), peer(1, "10.0.0.2/32")]).check(),
            Err(ConfigError::DoublePeer { .. })
        ));
    }

    #[test]
    fn the_digest_changes_with_a_peer() {
        let one = config(vec![peer(1, "10.0.0.1/32")]);
        let mut other = one.clone();
        assert_eq!(one.digest(), other.digest());
        other.devices[0].peers[0].keepalive_seconds = 25;
        assert_ne!(one.digest(), other.digest());
    }
}
