//! WireGuard interfaces and peers.

use std::net::SocketAddr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A WireGuard interface. All devices of one slot belong to one worker and share the slot's key pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WireguardDeviceSpec {
    /// 1 to 8: whose key and worker.
    pub slot: u8,
    /// Namespace of the interface itself: where clear packets are.
    pub netns: String,
    pub link: String,
    /// Namespace of the UDP socket: where the WAN is.
    pub underlay_netns: String,
    pub listen_port: u16,
}

/// A peer of a WireGuard interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WireguardPeerSpec {
    pub link: String,
    /// Base64, 32 bytes.
    pub public_key: String,
    /// The node at the other end, for people.
    pub node: String,
    /// Where to send first; absent at the anchor, which learns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<SocketAddr>,
    /// The other end's shim endpoint and its probe address of this slot; sorted.
    #[schemars(with = "Vec<String>")]
    pub allowed_ips: Vec<Ipv4Net>,
    /// Seconds; 0 is off.
    pub keepalive_seconds: u16,
}
