//! Addresses of interfaces, permanent neighbours, and who asks for an address by DHCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pathsteer_crds::AddressMethod;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, HOST, HOST_VETH, SHIM_LINK, VIP_NETNS, anchor_tunnel, edge_tunnel, in_place_veth, uplink_netns,
    uplink_veth,
};
use pathsteer_crds::plan::{AddressSpec, DhcpSpec, Family, NeighbourSpec, PlanObjects};

use crate::anchor::Anchor;
use crate::link::{SHIM_PEER_MAC, in_place_macs, veth_mac, veth_peer_mac};
use crate::mtu;
use crate::pool;
use crate::resolve::Resolved;
use crate::site::Site;

const SHIM_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 1);
/// Every link between two of our own ends is a /30: its two addresses, nothing else.
const LINK_PREFIX: u8 = 30;

/// Next hop behind the shim pair; nobody has this address, its neighbour entry is enough.
pub(crate) fn shim_gateway(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(169, 254, 77, 2)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, 2)),
    }
}

/// Address of the vip namespace's end of the veth to `slot` (1-8).
pub(crate) fn veth_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 78, 4 * slot + 1)
}

/// Address of the uplink namespace's end.
pub(crate) fn veth_peer_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 78, 4 * slot + 2)
}

/// The vip namespace's end as a next hop. Over IPv6 nobody has this address, its neighbour entry is enough.
pub(crate) fn veth_gateway(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => veth_address(slot).into(),
        Family::Ipv6 => of_veth_link(4 * u16::from(slot) + 1),
    }
}

/// The uplink namespace's end as a next hop.
pub(crate) fn veth_peer_gateway(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => veth_peer_address(slot).into(),
        Family::Ipv6 => of_veth_link(4 * u16::from(slot) + 2),
    }
}

/// Addresses of the veth to a card that stays in the node's own namespace: of the end there, and of the uplink's. Slot 0 is
/// the veth to the vip namespace.
pub(crate) fn in_place_addresses(slot: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(169, 254, 79, 4 * slot + end))
}

/// Addresses of the veth to the node's own namespace: of the end there, and of the vip namespace's. Over IPv6 they are
/// unique local ones (RFC 4193), which never leave the node: nobody forwards link-local ones.
pub(crate) fn host_networks() -> [[IpNet; 2]; 2] {
    let v6 = |end| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd70, 0x7300, 0x79, 0, 0, 0, 0, end), 126));
    [in_place_addresses(0).map(of_link), [v6(1), v6(2)]]
}

fn of_veth_link(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x78, host))
}

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.addresses.extend(site.spec.vips.iter().map(|vip| address(VIP_NETNS, "lo", IpNet::from(*vip))));
    for vlan in site.segments() {
        let addresses = vlan.spec.addresses.iter();
        plan.addresses.extend(addresses.map(|own| address(VIP_NETNS, &vlan.link(), *own)));
    }
    let (host_end, end) = HOST_VETH;
    let [host_mac, mac] = in_place_macs(0);
    for [there, here] in host_networks() {
        plan.addresses.push(address(HOST, host_end, there));
        plan.neighbours.push(neighbour(HOST, host_end, here.addr(), &mac));
        plan.neighbours.push(neighbour(VIP_NETNS, end, there.addr(), &host_mac));
    }
    shim_pair(VIP_NETNS, mtu::inner(resolved, site), plan);
    for uplink in &site.uplinks {
        let slot = uplink.spec.slot;
        let netns = uplink_netns(slot);
        let asks = |ipv4, ipv6| DhcpSpec { netns: netns.clone(), link: uplink.spec.link(), slot, ipv4, ipv6 };
        match &uplink.spec.address {
            AddressMethod::Dhcp => plan.dhcp.push(asks(true, false)),
            AddressMethod::Slaac => plan.dhcp.push(asks(false, false)),
            AddressMethod::Dhcpv6 => plan.dhcp.push(asks(false, true)),
            AddressMethod::Host => to_host(slot, &netns, plan),
            AddressMethod::Static { addresses, .. } => {
                plan.addresses.extend(addresses.iter().map(|own| address(&netns, &uplink.spec.link(), *own)));
            }
        }
        let (veth, peer) = uplink_veth(slot);
        plan.addresses.push(address(VIP_NETNS, &veth, of_link(veth_address(slot))));
        plan.addresses.push(address(&netns, peer, of_link(veth_peer_address(slot))));
        for family in [Family::Ipv4, Family::Ipv6] {
            let (here, there) = (veth_gateway(slot, family), veth_peer_gateway(slot, family));
            plan.neighbours.push(neighbour(VIP_NETNS, &veth, there, &veth_peer_mac(slot)));
            plan.neighbours.push(neighbour(&netns, peer, here, &veth_mac(slot)));
        }
        let probe = IpNet::from(IpAddr::V4(resolved.fabric.probe_address(site.node, slot)));
        for anchor in resolved.anchors_of(site) {
            plan.addresses.push(address(&netns, &edge_tunnel(slot, anchor.index), probe));
        }
    }
}

/// Of the pair to the node's own namespace.
fn to_host(slot: u8, netns: &str, plan: &mut PlanObjects) {
    let (host_end, end) = in_place_veth(slot);
    let ([here, there], [host_mac, mac]) = (in_place_addresses(slot), in_place_macs(slot));
    plan.addresses.push(address(HOST, &host_end, of_link(here)));
    plan.addresses.push(address(netns, end, of_link(there)));
    plan.neighbours.push(neighbour(HOST, &host_end, there.into(), &mac));
    plan.neighbours.push(neighbour(netns, end, here.into(), &host_mac));
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    let internet = &anchor.spec.internet;
    let own = internet.addresses.iter().copied().chain(pool::assigned(anchor.spec).map(IpNet::from));
    plan.addresses.extend(own.map(|own| address(ANCHOR_NETNS, &internet.interface, own)));
    shim_pair(ANCHOR_NETNS, mtu::anchor_inner(resolved, anchor), plan);
    for slot in resolved.slots_of(anchor) {
        let probe = IpNet::from(IpAddr::V4(resolved.fabric.probe_address(anchor.node, slot)));
        plan.addresses.push(address(ANCHOR_NETNS, &anchor_tunnel(slot), probe));
    }
}

fn shim_pair(netns: &str, mtu: u32, plan: &mut PlanObjects) {
    plan.addresses.push(address(netns, SHIM_LINK, of_link(SHIM_ADDRESS)));
    // Where there is no room for IPv6 the kernel has none, and refuses the neighbour.
    let families = [Family::Ipv4, Family::Ipv6].into_iter();
    for family in families.filter(|family| *family == Family::Ipv4 || mtu >= mtu::LEAST_IPV6) {
        plan.neighbours.push(neighbour(netns, SHIM_LINK, shim_gateway(family), SHIM_PEER_MAC));
    }
}

fn address(netns: &str, link: &str, address: IpNet) -> AddressSpec {
    AddressSpec { netns: netns.to_owned(), link: link.to_owned(), address }
}

fn of_link(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, LINK_PREFIX))
}

fn neighbour(netns: &str, link: &str, address: IpAddr, mac: &str) -> NeighbourSpec {
    NeighbourSpec { netns: netns.to_owned(), link: link.to_owned(), address, mac: mac.to_owned() }
}
