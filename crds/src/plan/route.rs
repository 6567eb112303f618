//! Routes and rules.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A route; its protocol is always [`crate::ownership::ROUTE_PROTOCOL`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    pub netns: String,
    /// 254 is the main table; path tables lie in [`crate::ownership::TABLES`].
    pub table: u32,
    #[schemars(with = "String")]
    pub destination: IpNet,
    /// Lower wins. IPv6 has no metric 0: write 1,024 there.
    pub metric: u32,
    pub kind: RouteKind,
    /// Bytes; what larger packets are answered with, when smaller than the link's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Declared only while this namespace has a working default route of the same family in its main table: the way
    /// straight to the internet through an uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_default_in: Option<String>,
    /// Declared only while this link of the node's own namespace has a default route of the same family in its main table.
    /// A route by that very link takes that one's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub while_host_default: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RouteKind {
    #[serde(rename_all = "camelCase")]
    Unicast {
        link: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        gateway: Option<IpAddr>,
        /// Preferred source of what the node itself sends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        source: Option<IpAddr>,
    },
    /// Dropped in silence: what keeps overlay packets off a WAN when a tunnel is gone.
    Blackhole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// An ip rule; its priority lies in [`crate::ownership::RULE_PRIORITIES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    pub netns: String,
    pub family: Family,
    pub priority: u32,
    /// Mark and mask the packet must have; absent matches any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<(u32, u32)>,
    /// Interface the packet must have come in by; absent matches any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    pub action: RuleAction,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuleAction {
    Table(u32),
    Blackhole,
}
