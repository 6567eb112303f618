//! Anchor: a point of presence where sessions leave the fabric.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource};

/// A point of presence where sessions leave the fabric: its public addresses and its interface towards the internet.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Anchor
/// metadata: {name: dal-a}
/// spec:
///   endpoints: [{address: 203.0.113.10}]
///   internet:
///     interface: inet0
///     addresses: [198.51.100.1/24]
///     gateways: [198.51.100.2]
///   egress: routed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnchorSpec {
    /// Public addresses at which sites reach this anchor, one per address family at most.
    pub endpoints: Vec<AnchorEndpoint>,
    /// UDP port below the first slot: slot 1 listens on `portBase + 1`, slot 8 on `portBase + 8`. Default 51820.
    #[serde(default = "default_port_base")]
    pub port_base: u16,
    /// MTU of the network that carries the endpoints, in bytes, 1,280 to 9,000; default 1,500.
    #[serde(default = "default_mtu")]
    #[schemars(range(min = 1280, max = 9000))]
    pub mtu: u16,
    /// The interface towards the internet, moved into the anchor's namespace.
    pub internet: InternetInterface,
    /// How sessions leave.
    #[serde(default)]
    pub egress: Egress,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnchorEndpoint {
    /// Such as `203.0.113.10` or `2001:db8:a::10`.
    #[schemars(with = "String")]
    pub address: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternetInterface {
    /// Name of the interface on the anchor, at most 15 characters, not starting with `ps`.
    pub interface: String,
    /// Its addresses with prefix lengths.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// Next hops of the default routes, one per address family at most; each must lie in one of `addresses`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub gateways: Vec<IpAddr>,
}

/// How sessions leave the anchor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Egress {
    /// Site prefixes are routed to this anchor from outside; nothing is translated.
    #[default]
    Routed,
    /// What the sites open is translated to addresses of a pool; sites among each other are not.
    #[serde(rename_all = "camelCase")]
    Snat {
        /// Addresses or prefixes, of both families if sites use both; at most 256 addresses of each IPv4 prefix are
        /// used. Those inside one of `internet.addresses` are given to the interface; others must be routed to it.
        #[schemars(with = "Vec<String>")]
        pool: Vec<IpNet>,
    },
}

fn default_mtu() -> u16 {
    1_500
}

fn default_port_base() -> u16 {
    51_820
}

impl Resource for AnchorSpec {
    const KIND: Kind = Kind::Anchor;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.endpoints.is_empty() {
            problems.push(("endpoints".into(), "at least one public address is needed".into()));
        }
        for v6 in [false, true] {
            if self.endpoints.iter().filter(|e| e.address.is_ipv6() == v6).count() > 1 {
                problems.push(("endpoints".into(), "at most one address per family".into()));
            }
            if self.internet.gateways.iter().filter(|g| g.is_ipv6() == v6).count() > 1 {
                problems.push(("internet.gateways".into(), "at most one gateway per family".into()));
            }
        }
        if self.port_base == 0 || self.port_base > 65_527 {
            problems.push(("portBase".into(), "must be from 1 to 65527: eight ports above it are used".into()));
        }
        if !(1_280..=9_000).contains(&self.mtu) {
            problems.push(("mtu".into(), format!("{} is out of range: 1280 to 9000", self.mtu)));
        }
        if let Egress::Snat { pool } = &self.egress {
            if pool.is_empty() {
                problems.push(("egress.snat.pool".into(), "at least one address is needed".into()));
            }
            for prefix in pool.iter().filter(|prefix| prefix.trunc() != **prefix) {
                problems.push((
                    "egress.snat.pool".into(),
                    format!("`{prefix}` has host bits set: write {} or a single address", prefix.trunc()),
                ));
            }
        }
        problems.extend(crate::uplink::check_interface_name("internet.interface", &self.internet.interface));
        if self.internet.addresses.is_empty() {
            problems.push(("internet.addresses".into(), "at least one address is needed".into()));
        }
        for gateway in &self.internet.gateways {
            if !self.internet.addresses.iter().any(|a| a.contains(gateway)) {
                problems.push((
                    "internet.gateways".into(),
                    format!("{gateway} lies in none of the interface's addresses: no route could reach it"),
                ));
            }
        }
        problems
    }
}
