//! What the BPF programs need to know.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A Site: it decides which path its traffic takes.
    Edge,
    /// An Anchor: it answers over the path it is spoken to.
    Anchor,
}

/// The node's shim; at most one a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatapathSpec {
    /// Namespace of the shim pair.
    pub netns: String,
    pub role: Role,
    /// The node's shim endpoint: outer source of what it sends. Never assigned to an interface.
    #[schemars(with = "String")]
    pub address: Ipv4Addr,
    /// Probe address of slot k is this plus k: what an anchor takes from a tunnel without a shim.
    #[schemars(with = "String")]
    pub probe_base: Ipv4Addr,
    /// Width of a sequence window in packets, a power of two.
    pub window_packets: u32,
}

/// A BPF program on the ingress of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgramSpec {
    pub netns: String,
    pub link: String,
    pub program: Program,
    /// The slot whose packets come in by this link; 0 on the shim pair.
    pub slot: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Program {
    /// Adds the shim (Ethernet).
    Encap,
    /// Takes it off, drops second copies (Ethernet: the edge's veth).
    DecapEthernet,
    /// The same on an interface without link layer (the anchor's WireGuard).
    DecapIp,
}

/// A node at the other end of the shim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteSpec {
    /// The remote's node index, 1 to 2,047, unique in the fabric.
    pub id: u32,
    pub node: String,
    /// Its shim endpoint.
    #[schemars(with = "String")]
    pub address: Ipv4Addr,
    /// Its anchor index in marks (1-15) if it is an anchor, else 0.
    pub anchor: u8,
    /// Of its memory; 0 while it has reported nothing. Another one means that the node has lost it, and with it how often its
    /// sequences began anew: what was seen of it before counts no more.
    #[serde(default)]
    pub identity: u32,
    /// Slots (1-8) by which it can be reached; sorted. What comes by another is dropped, no copy is sent there.
    pub slots: Vec<u8>,
    /// Steering classes (1-15) for which sequences and windows exist; sorted.
    pub classes: Vec<u8>,
}

/// Which remote a prefix lies behind. Longest match decides, for destinations of what is sent and for sources of what
/// is received.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefixSpec {
    #[schemars(with = "String")]
    pub prefix: IpNet,
    pub behind: Behind,
}

/// Where a prefix lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Behind {
    /// Behind the remote with this id.
    Remote(u32),
    /// Behind this node (edges): the only sources it sends into the shim; nothing that comes out may claim them.
    Own,
    /// Behind none; what is sent there is dropped, what claims to come from there is forged.
    Nowhere,
}
