//! The desired state: what the plan declares, completed by what the uplinks were leased.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::plan::{AddressSpec, NodePlan, PlanObjects, RouteKind, RouteSpec};

/// The kernel's main routing table (RT_TABLE_MAIN).
pub const MAIN_TABLE: u32 = 254;

/// Metric of the default route from a lease.
pub const LEASE_ROUTE_METRIC: u32 = 10;

/// What a DHCP server lent an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address with the prefix length of its network.
    pub address: Ipv4Net,
    /// Next hop of the default route; without it the uplink reaches its own network only.
    pub gateway: Option<Ipv4Addr>,
}

/// What the kernel has to hold: the objects of `plan`, and per lease (by slot) its address and default route on the link
/// that the plan wants configured by DHCP. Leases of slots without DHCP are left out.
pub fn desired(plan: &NodePlan, leases: &BTreeMap<u8, Lease>) -> PlanObjects {
    let mut leased = PlanObjects::default();
    for dhcp in &plan.objects.dhcp {
        let Some(lease) = leases.get(&dhcp.slot) else { continue };
        leased.addresses.push(AddressSpec {
            netns: dhcp.netns.clone(),
            link: dhcp.link.clone(),
            address: IpNet::V4(lease.address),
        });
        if let Some(gateway) = lease.gateway {
            leased.routes.push(RouteSpec {
                netns: dhcp.netns.clone(),
                table: MAIN_TABLE,
                destination: IpNet::V4(Ipv4Net::default()),
                metric: LEASE_ROUTE_METRIC,
                kind: RouteKind::Unicast { link: dhcp.link.clone(), gateway: Some(IpAddr::V4(gateway)), source: None },
            });
        }
    }
    let mut objects = plan.objects.clone();
    objects.merge(leased);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap_plan;

    fn lease(gateway: Option<Ipv4Addr>) -> Lease {
        Lease { address: "192.0.2.7/24".parse().unwrap(), gateway }
    }

    #[test]
    fn a_lease_becomes_an_address_and_a_default_route_where_the_plan_wants_dhcp() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned()), (2, "wan2".to_owned())]));
        let leases =
            BTreeMap::from([(1, lease(Some(Ipv4Addr::new(192, 0, 2, 1)))), (2, lease(None)), (3, lease(None))]);
        let objects = desired(&plan, &leases);
        let links: Vec<_> = objects.addresses.iter().map(|a| (&*a.netns, &*a.link, a.address.to_string())).collect();
        let address = "192.0.2.7/24".to_owned();
        assert_eq!(links, [("psup1", "wan1", address.clone()), ("psup2", "wan2", address)]);
        let [route] = &objects.routes[..] else { panic!("one default route: {:?}", objects.routes) };
        assert_eq!((&*route.netns, route.table, route.metric), ("psup1", 254, 10));
        assert_eq!(route.destination.to_string(), "0.0.0.0/0");
    }

    #[test]
    fn what_the_plan_declares_stays_as_it_is() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())]));
        assert_eq!(desired(&plan, &BTreeMap::new()), plan.objects);
    }
}
