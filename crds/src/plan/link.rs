//! Interfaces, their addresses and neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An interface. It is always administratively up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkSpec {
    pub netns: String,
    pub name: String,
    pub kind: LinkKind,
    /// Bytes; left as found when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Six bytes in hexadecimal with colons; left as found when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// 1 makes the kernel segment before the interface sees a packet; with more, packets of so many segments come whole
    /// if their kind is one that the shim can number, and are segmented otherwise. Left as found when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gso_max_segs: Option<u32>,
    /// Of a network card: how it is found and taken; by its name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardSpec>,
}

impl LinkSpec {
    /// An interface of which nothing but the kind is declared.
    pub fn new(netns: &str, name: &str, kind: LinkKind) -> LinkSpec {
        LinkSpec {
            netns: netns.to_owned(),
            name: name.to_owned(),
            kind,
            mtu: None,
            mac: None,
            gso_max_segs: None,
            card: None,
        }
    }
}

/// How a network card is found and taken where its name does not tell. All that is said has to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CardSpec {
    /// Its permanent MAC, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Name of a device on the way to it, such as `0000:03:00.0` (PCI) or `1-2` (USB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// The whole radio that it belongs to is moved, with all its interfaces.
    #[serde(default)]
    pub radio: bool,
}

/// What kind of interface, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    /// The namespace's own `lo`.
    Loopback,
    /// One end of a pair; the other end is a link of the plan too.
    #[serde(rename_all = "camelCase")]
    Veth { peer_netns: String, peer: String },
    /// A WireGuard interface: the kernel's own, or a persistent TUN with virtio headers to which a worker attaches.
    Tunnel,
    /// The tagged segment `id` of `parent`, a link of the same namespace.
    Vlan { parent: String, id: u16 },
    /// A network card, moved in from the node's own namespace and given back at teardown.
    Nic,
}

/// An address of an interface. IPv6 addresses skip duplicate address detection: both ends are ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressSpec {
    pub netns: String,
    pub link: String,
    #[schemars(with = "String")]
    pub address: IpNet,
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeighbourSpec {
    pub netns: String,
    pub link: String,
    #[schemars(with = "String")]
    pub address: IpAddr,
    pub mac: String,
}

/// An interface that asks its network for what it needs: addresses, a default route (main table, metric 10; of IPv6 it is
/// the kernel's, from router advertisements) and who resolves names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpSpec {
    pub netns: String,
    pub link: String,
    /// The uplink's slot.
    pub slot: u8,
    /// Asks for an IPv4 address.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub ipv4: bool,
    /// Asks for an IPv6 address even if no router advertises that there are any (flag M).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_yes(value: &bool) -> bool {
    *value
}
