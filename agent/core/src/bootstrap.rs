//! The plan before the first plan: a way to the operator by every uplink.

use std::collections::BTreeMap;

use pathsteer_crds::ownership::uplink_netns;
use pathsteer_crds::plan::{
    DhcpSpec, LinkKind, LinkSpec, NetnsSpec, NodePlan, PLAN_VERSION, PathSpec, PlanObjects, Role, SysctlSpec,
};

/// A plan for `node` that takes each uplink (interface name by slot) into its namespace and configures it by DHCP, the
/// lower slot preferred. It makes of an uplink what the compiler makes of it, so that the first real plan interrupts
/// nothing. Ordered before every real plan: store epoch 0, generation 0.
pub fn bootstrap_plan(node: &str, uplinks: &BTreeMap<u8, String>) -> NodePlan {
    let mut objects = PlanObjects::default();
    for (&slot, interface) in uplinks {
        let netns = uplink_netns(slot);
        let link = |name: &str, kind| LinkSpec {
            netns: netns.clone(),
            name: name.to_owned(),
            kind,
            mtu: None,
            mac: None,
            gso_max_segs: None,
        };
        objects.netns.push(NetnsSpec { name: netns.clone() });
        objects.sysctls.extend(SysctlSpec::of_namespace(&netns));
        objects.links.push(link("lo", LinkKind::Loopback));
        objects.links.push(link(interface, LinkKind::Nic));
        objects.dhcp.push(DhcpSpec { netns: netns.clone(), link: interface.clone(), slot });
        objects.paths.push(PathSpec { slot, name: interface.clone(), netns, cost: u16::from(slot) });
    }
    objects.sort();
    NodePlan { version: PLAN_VERSION, node: node.to_owned(), role: Role::Edge, store_epoch: 0, generation: 0, objects }
}
