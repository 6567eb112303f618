//! Routes and rules.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kernel's main routing table (RT_TABLE_MAIN).
pub const MAIN_TABLE: u32 = 254;

/// A route; its protocol is always [`crate::ownership::ROUTE_PROTOCOL`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    pub netns: String,
    /// [`MAIN_TABLE`], or a path table; these lie in [`crate::ownership::TABLES`].
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

impl RouteSpec {
    /// A route without conditions.
    pub fn new(netns: &str, table: u32, destination: IpNet, metric: u32, kind: RouteKind) -> RouteSpec {
        RouteSpec {
            netns: netns.to_owned(),
            table,
            destination,
            metric,
            kind,
            mtu: None,
            while_default_in: None,
            while_host_default: None,
        }
    }

    /// By `link`, to a neighbour there if there is a `gateway`.
    pub fn unicast(
        netns: &str,
        table: u32,
        destination: IpNet,
        metric: u32,
        link: &str,
        gateway: Option<IpAddr>,
    ) -> RouteSpec {
        let kind = RouteKind::Unicast { link: link.to_owned(), gateway, source: None };
        RouteSpec::new(netns, table, destination, metric, kind)
    }

    /// To nowhere.
    pub fn blackhole(netns: &str, table: u32, destination: IpNet, metric: u32) -> RouteSpec {
        RouteSpec::new(netns, table, destination, metric, RouteKind::Blackhole)
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// `0.0.0.0/0` or `::/0`.
    pub fn everything(self) -> IpNet {
        match self {
            Family::Ipv4 => IpNet::V4(Ipv4Net::default()),
            Family::Ipv6 => IpNet::V6(Ipv6Net::default()),
        }
    }

    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 }
    }
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
