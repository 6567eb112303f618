//! Interfaces.

use pathsteer_crds::Attach;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, HOST, HOST_VETH, SHIM_LINK, SHIM_PEER, VIP_NETNS, anchor_tunnel, edge_tunnel, in_place_veth,
    uplink_netns, uplink_veth,
};
use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects};

use crate::anchor::Anchor;
use crate::mtu;
use crate::resolve::Resolved;
use crate::site::Site;

/// Locally administered addresses (`02`), then `ps` in ASCII: what routes through the shim pair is addressed to the
/// second without asking.
const SHIM_LINK_MAC: &str = "02:70:73:00:00:01";
pub(crate) const SHIM_PEER_MAC: &str = "02:70:73:00:00:02";

/// MAC of the vip namespace's end of the veth to `slot`.
pub(crate) fn veth_mac(slot: u8) -> String {
    format!("02:70:73:01:00:{slot:02x}")
}

/// MACs of the veth to a card that stays in the node's own namespace: of the end there, and of the uplink's. Slot 0 is the
/// veth to the vip namespace.
pub(crate) fn in_place_macs(slot: u8) -> [String; 2] {
    [3, 4].map(|end| format!("02:70:73:{end:02x}:00:{slot:02x}"))
}

/// MAC of the uplink namespace's end.
pub(crate) fn veth_peer_mac(slot: u8) -> String {
    format!("02:70:73:02:00:{slot:02x}")
}

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.links.push(LinkSpec::new(VIP_NETNS, "lo", LinkKind::Loopback));
    for vlan in &site.vlans {
        // A trunk that several segments share is one link; doubles go when the plan is sorted.
        plan.links.push(LinkSpec::new(VIP_NETNS, &vlan.spec.interface, LinkKind::Nic));
        let tagged = vlan.spec.id.map(|id| LinkKind::Vlan { parent: vlan.spec.interface.clone(), id });
        plan.links.extend(tagged.map(|kind| LinkSpec::new(VIP_NETNS, &vlan.link(), kind)));
    }
    to_host((HOST_VETH.0, 0), (VIP_NETNS, HOST_VETH.1), mtu::HOST, plan);
    shim_pair(VIP_NETNS, mtu::inner(resolved, site), plan);
    for uplink in &site.uplinks {
        let slot = uplink.spec.slot;
        let netns = uplink_netns(slot);
        plan.links.push(LinkSpec::new(&netns, "lo", LinkKind::Loopback));
        if uplink.spec.attach == Attach::InPlace {
            let (host_end, end) = in_place_veth(slot);
            to_host((&host_end, slot), (&netns, end), uplink.spec.mtu.into(), plan);
        } else {
            let card = uplink.spec.card();
            plan.links.push(LinkSpec { card, ..LinkSpec::new(&netns, &uplink.spec.link(), LinkKind::Nic) });
        }
        let (veth, peer) = uplink_veth(slot);
        let mtu = mtu::veth(resolved, site, uplink);
        let kind = |peer_netns: &str, peer: &str| LinkKind::Veth { peer_netns: peer_netns.into(), peer: peer.into() };
        plan.links.push(LinkSpec {
            mtu: Some(mtu),
            mac: Some(veth_mac(slot)),
            ..LinkSpec::new(VIP_NETNS, &veth, kind(&netns, peer))
        });
        plan.links.push(LinkSpec {
            mtu: Some(mtu),
            mac: Some(veth_peer_mac(slot)),
            ..LinkSpec::new(&netns, peer, kind(VIP_NETNS, &veth))
        });
        for anchor in resolved.anchors_of(site) {
            let mtu = Some(mtu::tunnel(site, uplink, anchor));
            plan.links
                .push(LinkSpec { mtu, ..LinkSpec::new(&netns, &edge_tunnel(slot, anchor.index), LinkKind::Tunnel) });
        }
    }
}

/// A pair from the node's own namespace, where its end has the name and the slot, to another.
fn to_host((host_end, slot): (&str, u8), (netns, end): (&str, &str), mtu: u32, plan: &mut PlanObjects) {
    let [host_mac, mac] = in_place_macs(slot);
    let mtu = Some(mtu);
    let kind = |peer_netns: &str, peer: &str| LinkKind::Veth { peer_netns: peer_netns.into(), peer: peer.into() };
    plan.links.push(LinkSpec { mtu, mac: Some(host_mac), ..LinkSpec::new(HOST, host_end, kind(netns, end)) });
    plan.links.push(LinkSpec { mtu, mac: Some(mac), ..LinkSpec::new(netns, end, kind(HOST, host_end)) });
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    plan.links.push(LinkSpec::new(ANCHOR_NETNS, "lo", LinkKind::Loopback));
    plan.links.push(LinkSpec::new(ANCHOR_NETNS, &anchor.spec.internet.interface, LinkKind::Nic));
    shim_pair(ANCHOR_NETNS, mtu::anchor_inner(resolved, anchor), plan);
    for slot in resolved.slots_of(anchor) {
        let mtu = mtu::anchor_tunnel(resolved, anchor, slot);
        plan.links.push(LinkSpec { mtu, ..LinkSpec::new(ANCHOR_NETNS, &anchor_tunnel(slot), LinkKind::Tunnel) });
    }
}

/// The pair whose second end adds the shim. The MTU is on the first, so that the kernel answers too big a packet with
/// the right ICMP; one segment a packet, so that each packet on the wire has its own sequence number.
fn shim_pair(netns: &str, mtu: u32, plan: &mut PlanObjects) {
    let kind = |peer: &str| LinkKind::Veth { peer_netns: netns.to_owned(), peer: peer.to_owned() };
    plan.links.push(LinkSpec {
        mtu: Some(mtu),
        mac: Some(SHIM_LINK_MAC.to_owned()),
        gso_max_segs: Some(1),
        ..LinkSpec::new(netns, SHIM_LINK, kind(SHIM_PEER))
    });
    plan.links.push(LinkSpec {
        mtu: Some(mtu),
        mac: Some(SHIM_PEER_MAC.to_owned()),
        ..LinkSpec::new(netns, SHIM_PEER, kind(SHIM_LINK))
    });
}
