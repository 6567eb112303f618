//! Vlan: a segment behind a site.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource};

/// A segment behind a site, tagged (802.1Q) or not, and what happens to its traffic.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VlanSpec {
    /// Name of the interface on the node, moved into the node's vip namespace. With `id` it is the trunk, which several
    /// segments share.
    pub interface: String,
    /// 802.1Q VLAN, 1 to 4,094, unique within the site; without it the segment is what the interface carries untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub id: Option<u16>,
    /// The node's own addresses on the segment (the clients' gateways). Of survivable, service and mixed segments each
    /// lies inside one of the site's prefixes; of the others inside none, because the fabric does not carry them.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// What happens to the segment's traffic.
    #[serde(default)]
    pub treatment: SegmentTreatment,
    /// Names of other segments of the site to which flows may be opened from here. Between segments everything else is
    /// denied; a guest segment may name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<String>,
}

/// What happens to a segment's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SegmentTreatment {
    /// Always in a tunnel, shimmed, copied as the mode says, unless a TrafficPolicy says `service`.
    #[default]
    Survivable,
    /// Always in a tunnel, shimmed, routed without address translation; not copied unless a TrafficPolicy says
    /// `survivable`.
    Service,
    /// As TrafficPolicies decide flow by flow; the rest is best effort.
    Mixed,
    /// Never in a tunnel: straight to the internet with the uplink's address.
    BestEffort,
    /// As best effort, and kept from everything else: other segments, the node, the fabric, private networks (the
    /// modems' and dishes' own pages among them) and the operators.
    Guest,
}

impl SegmentTreatment {
    /// Whether the fabric carries the segment's addresses.
    pub fn in_fabric(self) -> bool {
        match self {
            SegmentTreatment::Survivable | SegmentTreatment::Service | SegmentTreatment::Mixed => true,
            SegmentTreatment::BestEffort | SegmentTreatment::Guest => false,
        }
    }
}

impl Resource for VlanSpec {
    const KIND: Kind = Kind::Vlan;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        problems.extend(crate::uplink::check_interface_name("interface", &self.interface));
        if self.addresses.is_empty() {
            problems.push(("addresses".into(), "at least one address is needed: it is the clients' gateway".into()));
        }
        if self.id.is_some_and(|id| !(1..=4_094).contains(&id)) {
            problems.push(("id".into(), "must be from 1 to 4094".into()));
        }
        if self.treatment == SegmentTreatment::Guest && !self.reaches.is_empty() {
            problems.push(("reaches".into(), "guests reach no other segment: leave it out".into()));
        }
        problems
    }
}
