//! The desired state: what the plan declares, completed by what the node itself knows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pathsteer_crds::ownership::SHIM_LINK;
use pathsteer_crds::plan::{AddressSpec, Family, MAIN_TABLE, NodePlan, PlanObjects, RouteKind, RouteSpec};

use crate::lease::{Leases, asked_for};

/// Metric of the default route from a lease.
pub const LEASE_ROUTE_METRIC: u32 = 10;

/// What an interface takes unless told otherwise (GSO_MAX_SEGS of linux/netdevice.h).
const DEFAULT_GSO_MAX_SEGS: u32 = 65_535;

/// What no plan can say.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Those that hold at the moment.
    pub leases: &'a Leases,
    /// Namespaces with a working default route in their main table, by family.
    pub defaults: &'a BTreeSet<(String, Family)>,
    /// Gateways of the default routes in the main table of the node's own namespace, by link and family.
    pub host_defaults: &'a BTreeMap<(String, Family), Option<IpAddr>>,
    /// Large segments may pass the shim whole: this kernel was seen to count them up rightly.
    pub whole_segments: bool,
}

/// What the kernel has to hold: the objects of `plan`, and per lease its address and default route on the link for which
/// the plan wants to ask. Leases of slots without DHCP are left out, and so are routes whose namespace has no
/// default route at the moment.
pub fn desired(plan: &NodePlan, surroundings: Surroundings) -> PlanObjects {
    let Surroundings { leases, defaults, host_defaults, whole_segments } = surroundings;
    let mut objects = plan.objects.clone();
    objects.routes.retain_mut(|route| {
        let family = Family::of(route.destination.addr());
        // What is declared now holds without a condition.
        if let Some(link) = route.while_host_default.take() {
            let Some(found) = host_defaults.get(&(link.clone(), family)) else { return false };
            if let RouteKind::Unicast { link: by, gateway, .. } = &mut route.kind
                && *by == link
            {
                *gateway = *found;
            }
        }
        route.while_default_in.take().is_none_or(|netns| defaults.contains(&(netns, family)))
    });
    if whole_segments {
        for link in objects.links.iter_mut().filter(|link| link.name == SHIM_LINK) {
            link.gso_max_segs = link.gso_max_segs.map(|_| DEFAULT_GSO_MAX_SEGS);
        }
    }
    objects.merge(leased(plan, leases));
    objects
}

fn leased(plan: &NodePlan, leases: &Leases) -> PlanObjects {
    let mut leased = PlanObjects::default();
    for dhcp in &plan.objects.dhcp {
        for (_, lease) in asked_for(dhcp, leases) {
            leased.addresses.extend(lease.address.map(|address| AddressSpec {
                netns: dhcp.netns.clone(),
                link: dhcp.link.clone(),
                address,
            }));
            leased.routes.extend(lease.gateway.map(|gateway| {
                let everything = Family::of(gateway).everything();
                RouteSpec::unicast(&dhcp.netns, MAIN_TABLE, everything, LEASE_ROUTE_METRIC, &dhcp.link, Some(gateway))
            }));
        }
    }
    leased
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pathsteer_crds::plan::{LinkKind, LinkSpec};

    use super::*;
    use crate::bootstrap_plan;
    use crate::lease::{Lease, Lender};

    fn lease(address: &str, gateway: Option<&str>) -> Lease {
        let (address, gateway) = (address.parse().ok(), gateway.and_then(|gateway| gateway.parse().ok()));
        Lease { address, gateway, resolvers: Vec::new(), captive_portal: None, expires: Duration::MAX }
    }

    fn nothing_known() -> (Leases, BTreeSet<(String, Family)>) {
        (Leases::new(), BTreeSet::new())
    }

    #[test]
    fn a_lease_becomes_an_address_and_a_default_route_where_the_plan_wants_dhcp() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned()), (2, "wan2".to_owned())]));
        let leases = Leases::from([
            ((1, Lender::Dhcpv4), lease("192.0.2.7/24", Some("192.0.2.1"))),
            ((1, Lender::Dhcpv6), lease("2001:db8::7/128", None)),
            ((2, Lender::Dhcpv4), lease("192.0.2.8/24", None)),
            ((3, Lender::Dhcpv4), lease("192.0.2.9/24", None)),
        ]);
        let defaults = BTreeSet::new();
        let objects = desired(
            &plan,
            Surroundings {
                leases: &leases,
                defaults: &defaults,
                host_defaults: &BTreeMap::new(),
                whole_segments: false,
            },
        );
        let leased = objects.addresses.iter().filter(|address| !plan.objects.addresses.contains(address));
        let links: Vec<_> = leased.map(|a| (&*a.netns, &*a.link, a.address.to_string())).collect();
        let expected = [
            ("psup1", "wan1", "192.0.2.7/24"),
            ("psup1", "wan1", "2001:db8::7/128"),
            ("psup2", "wan2", "192.0.2.8/24"),
        ];
        assert_eq!(links, expected.map(|(netns, link, address)| (netns, link, address.to_owned())));
        let leased: Vec<_> =
            objects.routes.iter().filter(|route| route.netns == "psup1" || route.netns == "psup2").collect();
        let leased: Vec<_> = leased.into_iter().filter(|route| !plan.objects.routes.contains(route)).collect();
        let [route] = &leased[..] else { panic!("one default route: {leased:?}") };
        assert_eq!((&*route.netns, route.table, route.metric), ("psup1", 254, 10));
        assert_eq!(route.destination.to_string(), "0.0.0.0/0");
    }

    #[test]
    fn what_the_plan_declares_stays_as_it_is() {
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())]));
        plan.objects.routes.retain(|route| route.while_default_in.is_none());
        let (leases, defaults) = nothing_known();
        let surroundings = Surroundings {
            leases: &leases,
            defaults: &defaults,
            host_defaults: &BTreeMap::new(),
            whole_segments: true,
        };
        assert_eq!(desired(&plan, surroundings), plan.objects);
    }

    #[test]
    fn a_conditional_route_is_declared_while_its_namespace_has_a_default_route_of_its_family() {
        let route = |destination: &str, netns: &str| RouteSpec {
            while_default_in: Some(netns.into()),
            ..RouteSpec::unicast("psvip", 7_990, destination.parse().unwrap(), 10, "psu1", None)
        };
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::new());
        plan.objects.routes = vec![route("0.0.0.0/0", "psup1"), route("::/0", "psup1"), route("0.0.0.0/0", "psup2")];
        let (leases, none) = nothing_known();
        let some = BTreeSet::from([("psup1".to_owned(), Family::Ipv4), ("psup2".to_owned(), Family::Ipv6)]);
        let with = |defaults| {
            desired(
                &plan,
                Surroundings { leases: &leases, defaults, host_defaults: &BTreeMap::new(), whole_segments: false },
            )
            .routes
        };
        assert_eq!(with(&none), []);
        assert_eq!(with(&some), [RouteSpec { while_default_in: None, ..route("0.0.0.0/0", "psup1") }]);
    }

    #[test]
    fn only_the_shim_takes_whole_segments_and_only_where_the_kernel_counts_them_rightly() {
        let link = |name: &str| LinkSpec { gso_max_segs: Some(1), ..LinkSpec::new("psvip", name, LinkKind::Nic) };
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::new());
        plan.objects.links = vec![link("lan0"), link("ps0")];
        let (leases, defaults) = nothing_known();
        let with = |whole_segments| {
            let objects = desired(
                &plan,
                Surroundings { leases: &leases, defaults: &defaults, host_defaults: &BTreeMap::new(), whole_segments },
            );
            objects.links.iter().map(|link| link.gso_max_segs).collect::<Vec<_>>()
        };
        assert_eq!(with(false), [Some(1), Some(1)]);
        assert_eq!(with(true), [Some(1), Some(65_535)]);
    }

    #[test]
    fn a_way_by_a_card_in_the_nodes_own_namespace_is_declared_while_the_node_has_one_and_takes_its_gateway() {
        let route = |netns: &str, link: &str, gateway: Option<&str>| {
            let gateway = gateway.map(|gateway| gateway.parse().unwrap());
            RouteSpec {
                while_host_default: Some("wwan0".into()),
                ..RouteSpec::unicast(netns, 254, "0.0.0.0/0".parse().unwrap(), 10, link, gateway)
            }
        };
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::new());
        plan.objects.routes = vec![route("", "wwan0", None), route("psup1", "psi", Some("169.254.79.5"))];
        let (leases, none) = nothing_known();
        let with = |found: &[(&str, Family, Option<&str>)]| {
            let found = found.iter().map(|(link, family, gateway)| {
                (((*link).to_owned(), *family), gateway.map(|gateway| gateway.parse().unwrap()))
            });
            let host_defaults = &found.collect();
            let surroundings = Surroundings { leases: &leases, defaults: &none, host_defaults, whole_segments: false };
            desired(&plan, surroundings).routes
        };
        let by = |netns, link, gateway| RouteSpec { while_host_default: None, ..route(netns, link, gateway) };
        assert_eq!(with(&[("wwan1", Family::Ipv4, None), ("wwan0", Family::Ipv6, None)]), []);
        let out = by("psup1", "psi", Some("169.254.79.5"));
        assert_eq!(with(&[("wwan0", Family::Ipv4, None)]), [by("", "wwan0", None), out.clone()]);
        let on = by("", "wwan0", Some("10.64.0.1"));
        assert_eq!(with(&[("wwan0", Family::Ipv4, Some("10.64.0.1"))]), [on, out]);
    }
}
