//! Fabric: what all sites and anchors share.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource};

/// What all sites and anchors share. There is one, named `default`.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Fabric
/// metadata: {name: default}
/// spec:
///   overlay: 10.100.0.0/16
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FabricSpec {
    /// IPv4 prefix of length 16 to 20 for the shim endpoints and probe addresses of all nodes. It never appears on a
    /// WAN and must overlap neither a LAN nor an underlay. A /16 holds 2,047 nodes, a /20 holds 127.
    #[schemars(with = "String")]
    pub overlay: Ipv4Net,
    /// Width of a sequence window in packets: how far the slower path may lag behind before its packets count as
    /// late. A power of two from 1,024 to 65,536; default 16,384 (costs 1 MiB per remote and steering class). Too
    /// small loses packets behind queues, too large only costs memory.
    #[serde(default = "default_window")]
    pub window_packets: u32,
    /// Addresses at which the operators answer: guests are kept from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub operators: Vec<IpAddr>,
    /// Networks guests are kept from beside the fabric, the anchors and the operators. Default: the private, shared and
    /// link-local ones (RFC 1918, 6598, 3927, 4193, 4291), where modems and dishes have their own pages.
    #[serde(default = "default_guests_denied")]
    #[schemars(with = "Vec<String>")]
    pub guests_denied: Vec<IpNet>,
}

fn default_window() -> u32 {
    16_384
}

fn default_guests_denied() -> Vec<IpNet> {
    let networks =
        ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"];
    networks.map(|network| network.parse().expect("a literal")).into()
}

impl Resource for FabricSpec {
    const KIND: Kind = Kind::Fabric;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !(16..=20).contains(&self.overlay.prefix_len()) {
            problems.push(("overlay".into(), format!("`{}` must have a prefix length from 16 to 20", self.overlay)));
        }
        if self.overlay.trunc() != self.overlay {
            problems.push((
                "overlay".into(),
                format!("`{}` has host bits set: write {}", self.overlay, self.overlay.trunc()),
            ));
        }
        if !self.window_packets.is_power_of_two() || !(1_024..=65_536).contains(&self.window_packets) {
            problems.push(("windowPackets".into(), "must be a power of two from 1024 to 65536".into()));
        }
        problems
    }
}
