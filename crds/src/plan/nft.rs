//! The node's nft tables, in the plan's own words; the agent renders them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Family;
use crate::CopyBudget;
use crate::traffic_policy::PortRange;

/// Our table (family inet, named [`crate::ownership::NFT_TABLE`]) in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NftTableSpec {
    pub netns: String,
    /// Class maps of one set are tried in this order; otherwise the order means nothing.
    pub rules: Vec<NftRule>,
    /// Any table of ours that is there will do: who does not know the plan replaces nothing that was made by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_absent: bool,
}

impl NftTableSpec {
    /// A table that holds exactly `rules`.
    pub fn new(netns: &str, rules: Vec<NftRule>) -> NftTableSpec {
        NftTableSpec { netns: netns.to_owned(), rules, if_absent: false }
    }
}

/// What a rule does. What drops, counts under the name in parentheses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NftRule {
    /// New flows in search of a class look themselves up here.
    ClassMap(ClassMap),
    /// What comes in by `link`, a segment of an edge. Sources other than `sources`, IPv6 link-local ones and none (`0.0.0.0`,
    /// `::`: who asks for an address has none) are dropped (`spoofed`), so are destinations in `barred` (`barred`), but for
    /// what neighbours find each other with. A new flow looks itself up in the maps of `policies`, if any; if none of them
    /// knows it, it goes to `default`.
    #[serde(rename_all = "camelCase")]
    Segment {
        link: String,
        #[schemars(with = "Vec<String>")]
        sources: Vec<IpNet>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(with = "Vec<String>")]
        barred: Vec<IpNet>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policies: Option<PolicySet>,
        default: FlowTo,
    },
    /// What the node itself opens, and at an anchor whatever goes to a site: the maps of set `tunnel`, then this class.
    DefaultClass { class: u8 },
    /// Flows to these destinations never go straight to the internet: the site's own segments.
    Inside {
        #[schemars(with = "Vec<String>")]
        prefixes: Vec<IpNet>,
    },
    /// The veth to the uplink in `slot`. A direct flow that leaves by it is pinned to it in its conntrack mark. What
    /// leaves by it and is neither shimmed nor direct is dropped (`leak`).
    Direct { slot: u8, link: String },
    /// Shimmed packets whose copy set has `slot` are copied out of `link`, within `budget`.
    Copy {
        slot: u8,
        link: String,
        to: CopyTarget,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<CopyBudget>,
    },
    /// Overlay addresses and bare GRE neither leave nor enter by `link`, which faces a WAN (`overlay`).
    DropOverlay {
        link: String,
        #[schemars(with = "String")]
        overlay: Ipv4Net,
    },
    /// Packets that come in by `link` with one of these sources are dropped (`spoofed`): they live elsewhere.
    DropSources {
        link: String,
        #[schemars(with = "Vec<String>")]
        sources: Vec<IpNet>,
    },
    /// The MSS of TCP handshakes through `link` is clamped to its route's MTU.
    ClampMss { link: String },
    /// Packets from one link to another are forwarded. Where a table has such rules, whatever none of them names is
    /// dropped (`denied`).
    #[serde(rename_all = "camelCase")]
    Forward {
        from: String,
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<Only>,
    },
    /// Of what comes in by `link` for the node itself, only this is let in; the rest is dropped (`denied`).
    Protect { link: String, welcome: Vec<Welcome> },
    /// Whatever comes in by `from` and leaves by `link` gets the address of `link`, IPv4 and IPv6.
    Masquerade { from: String, link: String },
    /// TCP flows that come in by one of `links` to one of `addresses` and `ports` go to `to` instead, family by family.
    Redirect {
        links: Vec<String>,
        #[schemars(with = "Vec<String>")]
        addresses: Vec<IpAddr>,
        ports: Vec<u16>,
        #[schemars(with = "Vec<String>")]
        to: Vec<IpAddr>,
    },
    /// Flows from `sources` that leave by `link` get an address of `pool`, family by family; a client keeps its address.
    Snat {
        link: String,
        #[schemars(with = "Vec<String>")]
        sources: Vec<IpNet>,
        #[schemars(with = "Vec<String>")]
        pool: Vec<IpNet>,
    },
}

/// Flows by what they look like. Elements of one map do not overlap, so a map is one lookup however many there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassMap {
    pub set: PolicySet,
    /// Maps of a set are tried in this order, from 1.
    pub order: u16,
    /// Needed where an element names an address or a DSCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Which address and port of the packet are the remote's.
    pub remote: RemoteSide,
    /// Sorted, not overlapping.
    pub elements: Vec<ClassElement>,
}

impl NftRule {
    /// From `from` to `to` whatever is forwarded, or `only` that.
    pub fn forward(from: &str, to: &str, only: Option<Only>) -> NftRule {
        NftRule::Forward { from: from.to_owned(), to: to.to_owned(), only }
    }
}

/// One element: every field it names must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassElement {
    /// The remote's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub prefix: Option<IpNet>,
    /// The other address: of a site's prefixes, seen at the anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub local: Option<IpNet>,
    /// IP protocol number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The remote's port; with `protocol` 6 or 17.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    pub to: FlowTo,
}

/// Which maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicySet {
    /// Only policies that keep a flow in a tunnel.
    Tunnel,
    /// All.
    Mixed,
}

/// What becomes of a flow; pinned in its conntrack mark by its first packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FlowTo {
    /// Into the shim in this steering class.
    Class(u8),
    /// Straight to the internet.
    #[default]
    Direct,
}

/// Which packets a forwarding rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Only {
    /// Of flows that were opened from the other side.
    Established,
    /// That came in a shim.
    Shimmed,
    /// Of flows that were redirected.
    Redirected,
}

/// What a node takes for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Welcome {
    /// What came in a shim.
    Shimmed,
    /// ICMP and ICMPv6.
    Diagnostics,
    /// What IPv6 neighbours need to find each other (RFC 4861).
    Neighbours,
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
