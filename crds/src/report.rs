//! What an agent reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a node, as its agent last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReport {
    pub node: String,
    pub agent_version: String,
    /// Store epoch and generation of the plan in force; 0 and 0 before the first.
    pub store_epoch: u64,
    pub generation: i64,
    /// Every object of that plan was seen in the kernel as declared.
    pub verified: bool,
    /// What is not as declared; empty when `verified`.
    pub not_as_declared: Vec<ObjectReport>,
    /// Objects found changed by somebody else and put right, since the agent started.
    pub drift_repaired: u64,
    pub uplinks: Vec<UplinkReport>,
    pub tunnels: Vec<TunnelReport>,
    /// What the node sends by (an edge decides, so only edges have it).
    pub steering: Vec<SteeringReport>,
    /// What the node follows (anchors).
    pub following: Vec<FollowingReport>,
    /// Packets by what became of them, since the datapath was made; zeros are left out.
    pub counters: Vec<CounterReport>,
    /// Whether large segments pass the shim whole, and why (not); empty before the start-up self-test.
    pub segmentation: String,
}

/// A count of packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CounterReport {
    /// What became of them, such as `delivered`, `duplicate` or `forged`.
    pub name: String,
    /// Where they are counted: `shim`, `worker <slot>` (what a WireGuard worker refused), or the namespace of an nft table.
    pub place: String,
    /// The remote node's index; 0 where none is known.
    pub remote: u32,
    pub packets: u64,
}

/// An object that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// Noun and name, such as `link psup1/wan1`.
    pub object: String,
    /// Why, with the remedy where there is one.
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UplinkReport {
    pub slot: u8,
    pub link: String,
    /// Address with prefix length, once there is one.
    pub address: Option<String>,
    pub gateway: Option<String>,
    /// Who resolves names there.
    #[serde(default)]
    pub resolvers: Vec<String>,
    /// Where its network wants people to agree to something first (RFC 8910).
    #[serde(default)]
    pub captive_portal: Option<String>,
    /// What it has lost and not been given again, such as a lease that nobody renewed.
    #[serde(default)]
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelReport {
    pub slot: u8,
    pub link: String,
    /// The node at the other end.
    pub peer: String,
    /// Seconds since the last handshake; absent if there was none.
    pub handshake_age_seconds: Option<u64>,
    pub endpoint: Option<String>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SteeringReport {
    /// The remote node's index.
    pub remote: u32,
    pub class: u8,
    pub class_name: String,
    /// The active slot.
    pub active: u8,
    /// Slots that carry copies.
    pub copies: Vec<u8>,
    /// Counts switches of this class.
    pub switch_counter: u64,
    /// The far end has said that it follows this.
    pub acknowledged: bool,
    /// Why this path, in words.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowingReport {
    /// The remote node's index.
    pub remote: u32,
    pub class: u8,
    pub active: u8,
    pub copies: Vec<u8>,
}
