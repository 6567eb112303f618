//! The plan before the first plan: a way to the operator by every uplink.

use std::collections::BTreeMap;

use pathsteer_crds::Interface;
use pathsteer_crds::ownership::uplink_netns;
use pathsteer_crds::plan::{
    DhcpSpec, LinkKind, LinkSpec, NetnsSpec, NodePlan, PLAN_VERSION, PathSpec, PlanObjects, Role, SysctlSpec,
};

/// A plan for `node` that takes each uplink (interface by slot) into its namespace and configures it by DHCP, the
/// lower slot preferred. It makes of an uplink what the compiler makes of it, so that the first real plan interrupts
/// nothing. Ordered before every real plan: store epoch 0, generation 0.
pub fn bootstrap_plan(node: &str, uplinks: &BTreeMap<u8, String>) -> NodePlan {
    let mut objects = PlanObjects::default();
    for (&slot, interface) in uplinks {
        let netns = uplink_netns(slot);
        objects.netns.push(NetnsSpec { name: netns.clone() });
        objects.sysctls.extend(SysctlSpec::of_namespace(&netns));
        objects.sysctls.push(SysctlSpec::of_uplink(&netns));
        objects.links.push(LinkSpec::new(&netns, "lo", LinkKind::Loopback));
        let card = Interface::parse(interface).unwrap_or(Interface::Name(interface));
        let link = card.link(slot);
        objects.links.push(LinkSpec { card: card.card(false), ..LinkSpec::new(&netns, &link, LinkKind::Nic) });
        objects.dhcp.push(DhcpSpec { netns: netns.clone(), link, slot, ipv4: true, ipv6: false });
        let (name, cost) = (interface.clone(), u16::from(slot));
        objects.paths.push(PathSpec { slot, name, netns, cost, metered: false, resolvers: Vec::new() });
    }
    objects.sort();
    NodePlan { version: PLAN_VERSION, node: node.to_owned(), role: Role::Edge, store_epoch: 0, generation: 0, objects }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uplink_gets_its_namespace_its_card_and_dhcp_and_the_lower_slot_is_preferred() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned()), (4, "wwan0".to_owned())]));
        let objects = &plan.objects;
        assert_eq!(plan.order(), (0, 0), "before every real plan");
        assert_eq!(objects.netns.iter().map(|n| &*n.name).collect::<Vec<_>>(), ["psup1", "psup4"]);
        let links: Vec<_> = objects.links.iter().map(|l| (&*l.netns, &*l.name)).collect();
        assert_eq!(links, [("psup1", "lo"), ("psup1", "wan1"), ("psup4", "lo"), ("psup4", "wwan0")]);
        assert_eq!(objects.dhcp.iter().map(|d| (d.slot, &*d.link)).collect::<Vec<_>>(), [(1, "wan1"), (4, "wwan0")]);
        assert_eq!(objects.paths.iter().map(|p| (p.slot, p.cost)).collect::<Vec<_>>(), [(1, 1), (4, 4)]);
        assert!(objects.sysctls.iter().any(|s| s.netns == "psup4" && s.key == "net/ipv4/ip_forward" && s.value == "1"));
    }

    #[test]
    fn its_lists_are_sorted_as_those_of_any_plan() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(2, "a".to_owned()), (1, "z".to_owned())]));
        let mut sorted = plan.objects.clone();
        sorted.sort();
        assert_eq!(plan.objects, sorted);
    }
}
