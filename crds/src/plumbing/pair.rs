//! The veths of an edge. Both ends are ours, so each has its MAC and addresses from its slot, and nobody asks for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ownership::{HOST, HOST_VETH, VIP_NETNS, in_place_veth, uplink_netns, uplink_veth};
use crate::plan::{AddressSpec, Family, LinkKind, LinkSpec, NeighbourSpec, PlanObjects};

/// Every link between two of our own ends is a /30: its two addresses, nothing else.
const LINK_PREFIX: u8 = 30;
/// Of the veth to the node's own namespace, in bytes: what a node without PathSteer has. Routes say where an uplink has
/// less.
const HOST_MTU: u32 = 1_500;

/// Address of the vip namespace's end of the veth to `slot` (1-8).
pub fn veth_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 78, 4 * slot + 1)
}

/// Address of the uplink namespace's end.
pub fn veth_peer_address(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 78, 4 * slot + 2)
}

/// The vip namespace's end as a next hop. Over IPv6 nobody has this address, its neighbour entry is enough.
pub fn veth_gateway(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => veth_address(slot).into(),
        Family::Ipv6 => of_veth_link(4 * u16::from(slot) + 1),
    }
}

/// The uplink namespace's end as a next hop.
pub fn veth_peer_gateway(slot: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => veth_peer_address(slot).into(),
        Family::Ipv6 => of_veth_link(4 * u16::from(slot) + 2),
    }
}

/// Addresses of the veth to a card that stays in the node's own namespace: of the end there, and of the uplink's. Slot 0
/// is the veth to the vip namespace.
pub fn in_place_addresses(slot: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(169, 254, 79, 4 * slot + end))
}

/// Addresses of the veth to the node's own namespace: of the end there, and of the vip namespace's. Over IPv6 they are
/// unique local ones (RFC 4193), which never leave the node: nobody forwards link-local ones.
pub fn host_networks() -> [[IpNet; 2]; 2] {
    let v6 = |end| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd70, 0x7300, 0x79, 0, 0, 0, 0, end), 126));
    [in_place_addresses(0).map(of_link), [v6(1), v6(2)]]
}

/// From the vip namespace to the uplink in `slot`.
pub fn uplink_pair(slot: u8, mtu: Option<u32>, plan: &mut PlanObjects) {
    let (link, peer) = uplink_veth(slot);
    let here = End {
        netns: VIP_NETNS.to_owned(),
        link,
        mac: mac(1, slot),
        addresses: vec![of_link(veth_address(slot))],
        hops: Family::BOTH.map(|family| veth_gateway(slot, family)).to_vec(),
    };
    let there = End {
        netns: uplink_netns(slot),
        link: peer.to_owned(),
        mac: mac(2, slot),
        addresses: vec![of_link(veth_peer_address(slot))],
        hops: Family::BOTH.map(|family| veth_peer_gateway(slot, family)).to_vec(),
    };
    pair(&here, &there, mtu, plan);
}

/// From the node's own namespace to the vip namespace.
pub fn host_pair(plan: &mut PlanObjects) {
    let [here, there] = [0, 1].map(|end| host_networks().map(|family| family[end]).to_vec());
    from_host(0, (HOST_VETH.0, here), (VIP_NETNS, HOST_VETH.1, there), HOST_MTU, plan);
}

/// From the node's own namespace, where the card of the uplink in `slot` stays, to the uplink's.
pub fn in_place_pair(slot: u8, mtu: u32, plan: &mut PlanObjects) {
    let (host_end, end) = in_place_veth(slot);
    let [here, there] = in_place_addresses(slot).map(|address| vec![of_link(address)]);
    from_host(slot, (&host_end, here), (&uplink_netns(slot), end, there), mtu, plan);
}

fn from_host(
    slot: u8,
    (here, addresses_here): (&str, Vec<IpNet>),
    (netns, there, addresses_there): (&str, &str, Vec<IpNet>),
    mtu: u32,
    plan: &mut PlanObjects,
) {
    let end = |group, netns: &str, link: &str, addresses: Vec<IpNet>| End {
        netns: netns.to_owned(),
        link: link.to_owned(),
        mac: mac(group, slot),
        hops: addresses.iter().map(IpNet::addr).collect(),
        addresses,
    };
    pair(&end(3, HOST, here, addresses_here), &end(4, netns, there, addresses_there), Some(mtu), plan);
}

/// One end of a pair.
struct End {
    netns: String,
    link: String,
    mac: String,
    addresses: Vec<IpNet>,
    /// As what the other end knows it.
    hops: Vec<IpAddr>,
}

fn pair(one: &End, other: &End, mtu: Option<u32>, plan: &mut PlanObjects) {
    for (end, peer) in [(one, other), (other, one)] {
        let (netns, link) = (end.netns.clone(), end.link.clone());
        let kind = LinkKind::Veth { peer_netns: peer.netns.clone(), peer: peer.link.clone() };
        plan.links.push(LinkSpec { mtu, mac: Some(end.mac.clone()), ..LinkSpec::new(&netns, &link, kind) });
        plan.addresses.extend(end.addresses.iter().map(|address| AddressSpec {
            netns: netns.clone(),
            link: link.clone(),
            address: *address,
        }));
        plan.neighbours.extend(peer.hops.iter().map(|hop| NeighbourSpec {
            netns: netns.clone(),
            link: link.clone(),
            address: *hop,
            mac: peer.mac.clone(),
        }));
    }
}

/// Locally administered addresses (`02`), then `ps` in ASCII.
fn mac(group: u8, slot: u8) -> String {
    format!("02:70:73:{group:02x}:00:{slot:02x}")
}

fn of_link(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, LINK_PREFIX))
}

fn of_veth_link(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x78, host))
}
