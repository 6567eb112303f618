//! Addresses of interfaces, permanent neighbours, and who asks for an address by DHCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::AddressMethod;
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_LINK, VIP_NETNS, anchor_tunnel, edge_tunnel, uplink_netns};
use pathsteer_crds::plan::{AddressSpec, DhcpSpec, Family, NeighbourSpec, PlanObjects};

use crate::anchor::Anchor;
use crate::link::SHIM_PEER_MAC;
use crate::mtu;
use crate::pool;
use crate::resolve::{Common, Resolved};
use crate::site::Site;

const SHIM_ADDRESS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 77, 1), 30);

/// Next hop behind the shim pair; nobody has this address, its neighbour entry is enough.
pub(crate) fn shim_gateway(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(169, 254, 77, 2)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, 2)),
    }
}

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.addresses.extend(site.spec.vips.iter().map(|vip| address(VIP_NETNS, "lo", IpNet::from(*vip))));
    for vlan in site.segments() {
        let addresses = vlan.spec.addresses.iter();
        plan.addresses.extend(addresses.map(|own| address(VIP_NETNS, &vlan.link(), *own)));
    }
    shim_pair(VIP_NETNS, mtu::inner(common, site), plan);
    for uplink in &site.uplinks {
        let slot = uplink.spec.slot;
        let netns = uplink_netns(slot);
        let asks = |ipv4, ipv6| DhcpSpec { netns: netns.clone(), link: uplink.spec.link(), slot, ipv4, ipv6 };
        match &uplink.spec.address {
            AddressMethod::Dhcp => plan.dhcp.push(asks(true, false)),
            AddressMethod::Slaac => plan.dhcp.push(asks(false, false)),
            AddressMethod::Dhcpv6 => plan.dhcp.push(asks(false, true)),
            AddressMethod::Host => {}
            AddressMethod::Static { addresses, .. } => {
                plan.addresses.extend(addresses.iter().map(|own| address(&netns, &uplink.spec.link(), *own)));
            }
        }
        let probe = IpNet::from(IpAddr::V4(common.fabric.probe_address(site.node, slot)));
        for anchor in common.anchors_of(site) {
            plan.addresses.push(address(&netns, &edge_tunnel(slot, anchor.index), probe));
        }
    }
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    let internet = &anchor.spec.internet;
    let own = internet.addresses.iter().copied().chain(pool::assigned(anchor.spec).map(IpNet::from));
    plan.addresses.extend(own.map(|own| address(ANCHOR_NETNS, &internet.interface, own)));
    shim_pair(ANCHOR_NETNS, mtu::anchor_inner(resolved, anchor), plan);
    for slot in resolved.slots_of(anchor) {
        let probe = IpNet::from(IpAddr::V4(resolved.common.fabric.probe_address(anchor.node, slot)));
        plan.addresses.push(address(ANCHOR_NETNS, &anchor_tunnel(slot), probe));
    }
}

fn shim_pair(netns: &str, mtu: u32, plan: &mut PlanObjects) {
    plan.addresses.push(address(netns, SHIM_LINK, IpNet::V4(SHIM_ADDRESS)));
    // Where there is no room for IPv6 the kernel has none, and refuses the neighbour.
    let families = Family::BOTH.into_iter();
    for family in families.filter(|family| *family == Family::Ipv4 || mtu >= mtu::LEAST_IPV6) {
        plan.neighbours.push(neighbour(netns, SHIM_LINK, shim_gateway(family), SHIM_PEER_MAC));
    }
}

fn address(netns: &str, link: &str, address: IpNet) -> AddressSpec {
    AddressSpec { netns: netns.to_owned(), link: link.to_owned(), address }
}

fn neighbour(netns: &str, link: &str, address: IpAddr, mac: &str) -> NeighbourSpec {
    NeighbourSpec { netns: netns.to_owned(), link: link.to_owned(), address, mac: mac.to_owned() }
}
