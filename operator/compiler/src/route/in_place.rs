//! Routes of an uplink whose card stays in the node's own namespace.

use std::net::IpAddr;

use pathsteer_crds::ownership::{HOST, in_place_veth, path_table, uplink_netns};
use pathsteer_crds::plan::{Family, MAIN_TABLE, PlanObjects, RouteSpec};
use pathsteer_crds::plumbing::{NO_PATH, PINNED, PREFERRED, in_place_addresses};

use crate::uplink::Uplink;

/// Out of the uplink's namespace by the veth, and on by the card alone, each only while the node's own tools have a way by
/// that card: never by another one that the node may have.
pub(super) fn edge(uplink: &Uplink<'_>, plan: &mut PlanObjects) {
    let slot = uplink.spec.slot;
    let (table, default) = (path_table(slot, PINNED), Family::Ipv4.everything());
    let while_host_default = Some(uplink.spec.interface.clone());
    let out = RouteSpec::unicast(
        &uplink_netns(slot),
        MAIN_TABLE,
        default,
        PREFERRED,
        in_place_veth(slot).1,
        Some(IpAddr::V4(in_place_addresses(slot)[0])),
    );
    let on = RouteSpec::unicast(HOST, table, default, PREFERRED, &uplink.spec.interface, None);
    plan.routes.extend([out, on].map(|route| RouteSpec { while_host_default: while_host_default.clone(), ..route }));
    plan.routes.push(RouteSpec::blackhole(HOST, table, default, NO_PATH));
}
