//! Ways straight to the internet, and that of the node itself.

use ipnet::IpNet;

use super::pair::{host_networks, veth_gateway, veth_peer_gateway};
use crate::mark;
use crate::ownership::{
    DIRECT_RULE_PRIORITY, DIRECT_TABLE, HOST, HOST_VETH, OUTSIDE_RULE_PRIORITY, VIP_NETNS, path_rule_priority,
    path_table, uplink_netns, uplink_veth,
};
use crate::plan::{Family, MAIN_TABLE, PlanObjects, RouteKind, RouteSpec, RuleAction, RuleSpec};

/// The metric of the way that a packet takes while everything is well.
pub const PREFERRED: u32 = 10;
/// Plus the slot: the ways it takes when the preferred one is gone.
pub const BACKUP: u32 = 100;
/// Where a path table ends.
pub const NO_PATH: u32 = 1_000;
/// Of what the node itself is given: after whatever its own tools or people have set up.
pub const AFTER_OTHERS: u32 = 1_000_000;
/// In place of an anchor's index: a flow that is pinned to an uplink goes to no anchor.
pub const PINNED: u8 = 0;

/// By the uplink in `slot`, while that has a way of this family.
pub fn direct(slot: u8, table: u32, metric: u32, family: Family) -> RouteSpec {
    let gateway = Some(veth_peer_gateway(slot, family));
    RouteSpec {
        while_default_in: Some(uplink_netns(slot)),
        ..RouteSpec::unicast(VIP_NETNS, table, family.everything(), metric, &uplink_veth(slot).0, gateway)
    }
}

/// Where the ways straight to the internet end when no uplink has one.
pub fn direct_end(family: Family) -> RouteSpec {
    RouteSpec::blackhole(VIP_NETNS, DIRECT_TABLE, family.everything(), NO_PATH)
}

/// From the namespace of the uplink in `slot` back to `network`, whose flows went straight to the internet.
pub fn answers(slot: u8, network: IpNet) -> RouteSpec {
    let gateway = Some(veth_gateway(slot, Family::of(network.addr())));
    RouteSpec::unicast(&uplink_netns(slot), MAIN_TABLE, network, PREFERRED, uplink_veth(slot).1, gateway)
}

/// Flows straight to the internet go by the uplink they are pinned to, one of `slots`, else by the preferred one.
pub fn direct_rules(slots: impl Iterator<Item = u8>, family: Family, plan: &mut PlanObjects) {
    plan.rules.extend(slots.map(|slot| RuleSpec {
        fwmark: Some((mark::path(slot, PINNED), mark::PATH_MASK)),
        ..rule(family, path_rule_priority(slot, PINNED), path_table(slot, PINNED))
    }));
    plan.rules.push(RuleSpec {
        fwmark: Some((mark::DIRECT, mark::TAG_MASK)),
        ..rule(family, DIRECT_RULE_PRIORITY, DIRECT_TABLE)
    });
}

/// What comes in by `link` has no other way, whatever its mark says.
pub fn outside_rule(link: &str, family: Family) -> RuleSpec {
    RuleSpec { iif: Some(link.to_owned()), ..rule(family, OUTSIDE_RULE_PRIORITY, DIRECT_TABLE) }
}

fn rule(family: Family, priority: u32, table: u32) -> RuleSpec {
    let action = RuleAction::Table(table);
    RuleSpec { netns: VIP_NETNS.to_owned(), family, priority, fwmark: None, iif: None, action }
}

/// From the node's own namespace to `destination`.
pub fn host_way(destination: IpNet) -> RouteSpec {
    let family = Family::of(destination.addr());
    let [own, gateway] = host_networks()[usize::from(family == Family::Ipv6)].map(|network| network.addr());
    let kind = RouteKind::Unicast { link: HOST_VETH.0.to_owned(), gateway: Some(gateway), source: Some(own) };
    RouteSpec::new(HOST, MAIN_TABLE, destination, AFTER_OTHERS, kind)
}
