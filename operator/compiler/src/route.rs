//! Routes.

mod direct;
mod host;
mod in_place;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use pathsteer_crds::AddressMethod;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, SHIM_LINK, VIP_NETNS, anchor_tunnel, edge_tunnel, path_table, uplink_netns, uplink_veth,
};
use pathsteer_crds::plan::{Family, MAIN_TABLE, PlanObjects, RouteKind, RouteSpec};
use pathsteer_crds::plumbing::{BACKUP, NO_PATH, PREFERRED, veth_address, veth_peer_address};

use crate::address::shim_gateway;
use crate::anchor::Anchor;
use crate::fabric::Fabric;
use crate::mtu;
use crate::resolve::{Common, Resolved};
use crate::site::Site;
use crate::uplink::Uplink;

/// Below every route that knows where in the overlay to go.
const OVERLAY_BLACKHOLE: u32 = 4_000;

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    overlay_blackhole(VIP_NETNS, &common.fabric, plan);
    for family in Family::BOTH.into_iter().filter(|family| site.speaks(*family)) {
        plan.routes.push(through_shim(VIP_NETNS, family.everything(), site.own_address(family), None));
    }
    for anchor in common.anchors_of(site) {
        for slot in site.slots() {
            edge_path(site, path_table(slot, anchor.index), slot, plan);
        }
    }
    for uplink in &site.uplinks {
        edge_uplink(common, site, uplink, plan);
    }
    direct::edge(common, site, plan);
    host::edge(site, plan);
}

/// The table of the path through `active`. With only the first route, an admin-down of the active veth would lose the
/// packet before postrouting, and its copy with it.
fn edge_path(site: &Site<'_>, table: u32, active: u8, plan: &mut PlanObjects) {
    for slot in site.slots() {
        let metric = if slot == active { PREFERRED } else { BACKUP + u32::from(slot) };
        let gateway = Some(IpAddr::V4(veth_peer_address(slot)));
        plan.routes.push(RouteSpec::unicast(
            VIP_NETNS,
            table,
            Family::Ipv4.everything(),
            metric,
            &uplink_veth(slot).0,
            gateway,
        ));
    }
    plan.routes.push(RouteSpec::blackhole(VIP_NETNS, table, Family::Ipv4.everything(), NO_PATH));
}

/// The main table of an uplink's namespace: inwards by the veth, outwards by the tunnels, never by the WAN.
fn edge_uplink(common: &Common<'_>, site: &Site<'_>, uplink: &Uplink<'_>, plan: &mut PlanObjects) {
    let fabric = &common.fabric;
    let slot = uplink.spec.slot;
    let netns = uplink_netns(slot);
    overlay_blackhole(&netns, fabric, plan);
    let own = single(fabric.shim_endpoint(site.node));
    let gateway = Some(IpAddr::V4(veth_address(slot)));
    plan.routes.push(RouteSpec::unicast(&netns, MAIN_TABLE, own, PREFERRED, uplink_veth(slot).1, gateway));
    for anchor in common.anchors_of(site) {
        let tunnel = edge_tunnel(slot, anchor.index);
        for address in [fabric.shim_endpoint(anchor.node), fabric.probe_address(anchor.node, slot)] {
            plan.routes.push(RouteSpec::unicast(&netns, MAIN_TABLE, single(address), PREFERRED, &tunnel, None));
        }
    }
    match &uplink.spec.address {
        AddressMethod::Static { gateways, .. } => {
            plan.routes.extend(gateways.iter().map(|gateway| default_by(&netns, &uplink.spec.link(), *gateway)));
        }
        AddressMethod::Host => in_place::edge(uplink, plan),
        AddressMethod::Dhcp | AddressMethod::Slaac | AddressMethod::Dhcpv6 => {}
    }
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    overlay_blackhole(ANCHOR_NETNS, &resolved.common.fabric, plan);
    for gateway in &anchor.spec.internet.gateways {
        plan.routes.push(default_by(ANCHOR_NETNS, &anchor.spec.internet.interface, *gateway));
    }
    for slot in resolved.slots_of(anchor) {
        plan.routes.push(RouteSpec::blackhole(ANCHOR_NETNS, path_table(slot, 0), Family::Ipv4.everything(), NO_PATH));
    }
}

pub(crate) fn anchor_for_site(common: &Common<'_>, anchor: &Anchor<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    let fabric = &common.fabric;
    // Said even where the interface has no more: so that a larger site that comes changes nothing for this one.
    let inner = Some(mtu::inner(common, site));
    for prefix in site.spec.all_prefixes() {
        let own = anchor.spec.internet.addresses.iter().map(IpNet::addr);
        let source = own.into_iter().find(|address| address.is_ipv6() == matches!(prefix, IpNet::V6(_)));
        plan.routes.push(through_shim(ANCHOR_NETNS, prefix, source, inner));
    }
    let endpoint = single(fabric.shim_endpoint(site.node));
    for active in site.slots() {
        let probe = single(fabric.probe_address(site.node, active));
        plan.routes.push(RouteSpec::unicast(ANCHOR_NETNS, MAIN_TABLE, probe, PREFERRED, &anchor_tunnel(active), None));
        for slot in site.slots() {
            let metric = if slot == active { PREFERRED } else { BACKUP + u32::from(slot) };
            let table = path_table(active, 0);
            plan.routes.push(RouteSpec::unicast(ANCHOR_NETNS, table, endpoint, metric, &anchor_tunnel(slot), None));
        }
    }
}

/// With a `source` of our own, ICMP errors carry a real address instead of the link's.
fn through_shim(netns: &str, destination: IpNet, source: Option<IpAddr>, mtu: Option<u32>) -> RouteSpec {
    let (family, metric) = match destination {
        IpNet::V4(_) => (Family::Ipv4, 100),
        IpNet::V6(_) => (Family::Ipv6, 1_024),
    };
    let kind = RouteKind::Unicast { link: SHIM_LINK.to_owned(), gateway: Some(shim_gateway(family)), source };
    RouteSpec { mtu, ..RouteSpec::new(netns, MAIN_TABLE, destination, metric, kind) }
}

/// Without it a dead tunnel lets shimmed packets follow the WAN's default route in clear.
fn overlay_blackhole(netns: &str, fabric: &Fabric<'_>, plan: &mut PlanObjects) {
    plan.routes.push(RouteSpec::blackhole(netns, MAIN_TABLE, IpNet::V4(fabric.overlay), OVERLAY_BLACKHOLE));
}

fn default_by(netns: &str, link: &str, gateway: IpAddr) -> RouteSpec {
    let everything = Family::of(gateway).everything();
    RouteSpec::unicast(netns, MAIN_TABLE, everything, PREFERRED, link, Some(gateway))
}

fn single(address: Ipv4Addr) -> IpNet {
    IpNet::from(IpAddr::V4(address))
}
