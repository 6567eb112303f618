//! Routes of the node's own namespace: the way out that it has left once its cards are elsewhere.

use ipnet::IpNet;
use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::ownership::{HOST, HOST_VETH};
use pathsteer_crds::plan::{Family, PlanObjects, RouteKind};

use super::{AFTER_OTHERS, MAIN, everything, route};
use crate::address::host_networks;
use crate::site::Site;
use crate::vlan::Vlan;

/// To the internet, and to the segments that may ask something of the node: a node that has a way of its own still answers
/// these.
pub(super) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    let reached = site.vlans.iter().filter(|vlan| vlan.spec.treatment != SegmentTreatment::Guest);
    let segments: Vec<IpNet> = reached.flat_map(Vlan::networks).collect();
    for ([own, gateway], family) in host_networks().into_iter().zip([Family::Ipv4, Family::Ipv6]) {
        let near = segments.iter().copied().filter(|network| network.addr().is_ipv6() == (family == Family::Ipv6));
        for destination in near.chain([everything(family)]) {
            let (link, gateway, source) = (HOST_VETH.0.to_owned(), Some(gateway.addr()), Some(own.addr()));
            let kind = RouteKind::Unicast { link, gateway, source };
            plan.routes.push(route(HOST, MAIN, destination, AFTER_OTHERS, kind));
        }
    }
}
