//! The node's nft tables, in the plan's own words; the agent renders them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::traffic_policy::{Match, PortRange, Protocol};

/// Our table (family inet, named [`crate::ownership::NFT_TABLE`]) in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NftTableSpec {
    pub netns: String,
    /// In the order in which they are evaluated.
    pub rules: Vec<NftRule>,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NftRule {
    /// A flow that `match_` fits gets this steering class, unless an earlier rule gave it one; pinned in the conntrack
    /// mark by its first packet.
    #[serde(rename_all = "camelCase")]
    Classify {
        #[serde(rename = "match")]
        match_: Match,
        /// Which address and port of the packet are the remote's.
        remote: RemoteSide,
        /// The other address must lie in one of these: the prefixes of the sites a policy holds for, seen at the
        /// anchor; empty fits any. Sorted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(with = "Vec<String>")]
        local: Vec<IpNet>,
        class: u8,
    },
    /// Every flow left without a class gets this one.
    DefaultClass { class: u8 },
    /// Shimmed packets whose copy set has `slot` are copied out of `link`.
    Copy { slot: u8, link: String, to: CopyTarget },
    /// Overlay addresses and bare GRE neither leave nor enter by `link`, which faces a WAN.
    DropOverlay {
        link: String,
        #[schemars(with = "String")]
        overlay: Ipv4Net,
    },
    /// The MSS of TCP handshakes through `link` is clamped to its route's MTU.
    ClampMss { link: String },
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CopyTarget {
    /// To this neighbour on the link.
    Gateway(#[schemars(with = "String")] Ipv4Addr),
    /// To the packet's own destination (the link has no neighbours: WireGuard finds the peer).
    Destination,
}

/// Which address and port of a packet are the remote's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RemoteSide {
    /// The destination's: packets a site sends, seen at the site.
    Destination,
    /// The source's: packets towards a site, seen at the anchor.
    Source,
}

// `Match` is a manifest type; a plan orders its rules' fields, and so needs these too.
impl Eq for Match {}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Match {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        type Key<'a> = (Option<u8>, Option<(IpAddr, u8)>, &'a [PortRange], Option<u8>);
        fn key(one: &Match) -> Key<'_> {
            let protocol = one.protocol.map(|protocol| match protocol {
                Protocol::Tcp => 0,
                Protocol::Udp => 1,
                Protocol::Icmp => 2,
            });
            (protocol, one.prefix.map(|p| (p.addr(), p.prefix_len())), &one.ports, one.dscp)
        }
        key(self).cmp(&key(other))
    }
}
