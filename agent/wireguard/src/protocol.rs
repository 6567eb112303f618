//! What agent and worker say to each other: one JSON object per line, a request and then its answer.

use std::net::SocketAddr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::WorkerConfig;

/// `{"op":"apply","config":{…}}`, `{"op":"status"}` or `{"op":"await","digest":"…"}`, each answered by the status: afterwards, at
/// once, or as soon as the configuration in force has another digest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub(crate) enum Request {
    Apply { config: WorkerConfig },
    Status,
    Await { digest: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response {
    Status(WorkerStatus),
    /// The request was refused and changed nothing.
    Refused(String),
}

impl WorkerStatus {
    /// Whether `other` has the same devices and peers with the same settings, however their sessions are.
    pub fn is_set_like(&self, other: &WorkerStatus) -> bool {
        self.config_digest == other.config_digest
            && self.devices.len() == other.devices.len()
            && self.devices.iter().zip(&other.devices).all(|(one, other)| one.is_set_like(other))
    }
}

impl DeviceStatus {
    fn is_set_like(&self, other: &DeviceStatus) -> bool {
        let peers = |of: &DeviceStatus| {
            let set =
                of.peers.iter().map(|peer| (peer.public_key.clone(), peer.allowed_ips.clone(), peer.keepalive_seconds));
            set.collect::<Vec<_>>()
        };
        (&self.link, &self.problem) == (&other.link, &other.problem) && peers(self) == peers(other)
    }
}

/// A worker as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    pub slot: u8,
    /// 0 where the kernel does it.
    pub pid: u32,
    /// The worker's [`crate::version`]; empty of one that cannot tell.
    #[serde(default)]
    pub version: String,
    /// [`WorkerConfig::digest`] of the configuration in force.
    pub config_digest: String,
    /// The slot's own public key, base64.
    pub public_key: String,
    /// One per configured device, in order of `link`.
    pub devices: Vec<DeviceStatus>,
    /// Datagrams that should have become packets and did not, since the worker began: replays, forgeries, unknown senders,
    /// sources that are not the peer's, congestion met by a flow that does not know ECN. Keepalives and handshakes do not
    /// count, of the kernel's WireGuard only what it counts itself: sources that are not the peer's.
    #[serde(default)]
    pub rejected: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    pub netns: String,
    pub link: String,
    /// The UDP port in use; 0 while there is no socket.
    pub listen_port: u16,
    /// Why the device does not carry packets; absent if all is as declared. The worker keeps trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// In order of `public_key`.
    pub peers: Vec<PeerStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Base64.
    pub public_key: String,
    /// Where packets go now.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the handshake of the session in use; absent without a session.
    pub handshake_age_seconds: Option<u64>,
    /// Bytes of WireGuard messages since the worker began with this peer.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Sorted.
    pub allowed_ips: Vec<Ipv4Net>,
    /// 0 is off.
    pub keepalive_seconds: u16,
}
