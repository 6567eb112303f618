//! Uplink: one WAN of a site.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource, ownership};

/// An uplink.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Uplink
/// metadata: {site: rv-07, name: fiber}
/// spec:
///   slot: 1
///   kind: fiber
///   interface: wan1
///   address: dhcp
///   cost: 10
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UplinkSpec {
    /// 1 to 8, unique within the site. Slot N of a site meets slot N of the anchor. Renumbering interrupts the path.
    #[schemars(range(min = 1, max = 8))]
    pub slot: u8,
    /// What carries it; used for defaults and shown in status.
    pub kind: UplinkKind,
    /// Name of the interface on the node, at most 15 characters, not starting with `ps`.
    pub interface: String,
    /// How the interface is taken.
    #[serde(default)]
    pub attach: Attach,
    /// How it gets its address.
    #[serde(default)]
    pub address: AddressMethod,
    /// Preference: the lowest cost is the active path, equal costs go by slot. 0 to 65,535; default 100.
    #[serde(default = "default_cost")]
    pub cost: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UplinkKind {
    Fiber,
    Starlink,
    Cellular,
    Ethernet,
    Wifi,
    Satellite,
}

/// How the interface is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Attach {
    /// Moved into the uplink's namespace; given back at teardown.
    #[default]
    Move,
}

/// How an uplink gets its address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AddressMethod {
    /// DHCPv4, with a default route from the lease.
    #[default]
    Dhcp,
    /// Fixed addresses and default gateways.
    #[serde(rename_all = "camelCase")]
    Static {
        #[schemars(with = "Vec<String>")]
        addresses: Vec<IpNet>,
        #[schemars(with = "Vec<String>")]
        gateways: Vec<IpAddr>,
    },
}

fn default_cost() -> u16 {
    100
}

/// Interface names are the kernel's (IFNAMSIZ 16 with the final zero) and must stay out of our own prefix.
pub(crate) fn check_interface_name(path: &str, name: &str) -> Option<(String, String)> {
    if name.is_empty() || name.len() > 15 || name.chars().any(|c| c == '/' || c.is_whitespace()) {
        return Some((path.into(), format!("`{name}` is not an interface name: 1 to 15 characters, no `/` or space")));
    }
    name.starts_with(ownership::PREFIX).then(|| {
        (
            path.into(),
            format!(
                "`{name}` starts with `{}`, which marks PathSteer's own interfaces: rename the interface",
                ownership::PREFIX
            ),
        )
    })
}

impl Resource for UplinkSpec {
    const KIND: Kind = Kind::Uplink;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !(1..=8).contains(&self.slot) {
            problems.push(("slot".into(), format!("{} is out of range: slots are 1 to 8", self.slot)));
        }
        problems.extend(check_interface_name("interface", &self.interface));
        if let AddressMethod::Static { addresses, gateways } = &self.address {
            if addresses.is_empty() {
                problems.push(("address.static.addresses".into(), "at least one address is needed".into()));
            }
            for gateway in gateways {
                if !addresses.iter().any(|a| a.contains(gateway)) {
                    problems.push((
                        "address.static.gateways".into(),
                        format!("{gateway} lies in none of the addresses: no route could reach it"),
                    ));
                }
            }
        }
        problems
    }
}
