//! Interfaces.

use pathsteer_crds::Attach;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, SHIM_LINK, SHIM_PEER, VIP_NETNS, anchor_tunnel, edge_tunnel, uplink_netns,
};
use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects};
use pathsteer_crds::plumbing::{host_pair, in_place_pair, uplink_pair};

use crate::anchor::Anchor;
use crate::mtu;
use crate::resolve::{Common, Resolved};
use crate::site::Site;

/// Locally administered addresses (`02`), then `ps` in ASCII: what routes through the shim pair is addressed to the
/// second without asking.
const SHIM_LINK_MAC: &str = "02:70:73:00:00:01";
pub(crate) const SHIM_PEER_MAC: &str = "02:70:73:00:00:02";

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    for vlan in &site.vlans {
        // A trunk that several segments share is one link; doubles go when the plan is sorted.
        plan.links.push(LinkSpec::new(VIP_NETNS, &vlan.spec.interface, LinkKind::Nic));
        let tagged = vlan.spec.id.map(|id| LinkKind::Vlan { parent: vlan.spec.interface.clone(), id });
        plan.links.extend(tagged.map(|kind| LinkSpec::new(VIP_NETNS, &vlan.link(), kind)));
    }
    host_pair(plan);
    shim_pair(VIP_NETNS, mtu::inner(common, site), plan);
    for uplink in &site.uplinks {
        let slot = uplink.spec.slot;
        let netns = uplink_netns(slot);
        if uplink.spec.attach == Attach::InPlace {
            in_place_pair(slot, uplink.spec.mtu.into(), plan);
        } else {
            let card = uplink.spec.card();
            plan.links.push(LinkSpec { card, ..LinkSpec::new(&netns, &uplink.spec.link(), LinkKind::Nic) });
        }
        uplink_pair(slot, Some(mtu::veth(common, site, uplink)), plan);
        for anchor in common.anchors_of(site) {
            let mtu = Some(mtu::tunnel(site, uplink, anchor));
            plan.links
                .push(LinkSpec { mtu, ..LinkSpec::new(&netns, &edge_tunnel(slot, anchor.index), LinkKind::Tunnel) });
        }
    }
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
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
