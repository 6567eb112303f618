//! Vlan: a segment behind a site.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource, Treatment};

/// A segment.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Vlan
/// metadata: {site: rv-07, name: crew}
/// spec:
///   interface: lan0
///   addresses: [172.16.7.1/24, "fd07::1/64"]
///   treatment: survivable
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VlanSpec {
    /// Name of the interface on the node, moved into the node's vip namespace.
    pub interface: String,
    /// The node's own addresses on the segment (the clients' gateways), each inside one of the site's prefixes.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// What happens to traffic of this segment that no TrafficPolicy names.
    #[serde(default)]
    pub treatment: Treatment,
}

impl Resource for VlanSpec {
    const KIND: Kind = Kind::Vlan;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        problems.extend(crate::uplink::check_interface_name("interface", &self.interface));
        if self.addresses.is_empty() {
            problems.push(("addresses".into(), "at least one address is needed: it is the clients' gateway".into()));
        }
        problems
    }
}
