//! The shim: its programs, the nodes at its other end, and what lies behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pathsteer_crds::canonical;
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_PEER, VIP_NETNS, anchor_tunnel, uplink_veth};
use pathsteer_crds::plan::{
    Behind, DatapathSpec, Family, PlanObjects, PrefixSpec, Program, ProgramSpec, RemoteSpec, Role,
};
use pathsteer_crds::plumbing::host_networks;

use crate::anchor::Anchor;
use crate::resolve::{Common, Resolved};
use crate::site::Site;

/// What has a meaning on one link only.
pub(crate) fn never_shimmed() -> [IpNet; 5] {
    let [_, [host_v6, _]] = host_networks();
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
        host_v6.trunc(),
    ]
}

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    shim(common, VIP_NETNS, Role::Edge, site.node, plan);
    for slot in site.slots() {
        plan.programs.push(program(VIP_NETNS, &uplink_veth(slot).0, Program::DecapEthernet, slot));
    }
    for anchor in common.anchors_of(site) {
        plan.remotes.push(remote(
            common,
            site,
            anchor.name,
            anchor.node,
            anchor.index,
            (anchor.incarnation, &anchor.keys),
        ));
    }
    // The preferred anchor carries everything; what is ours comes in by a segment, never through the shim.
    let everywhere = common.anchors_of(site).next().map_or(Behind::Nowhere, |anchor| Behind::Remote(anchor.node));
    let everything = Family::BOTH.map(Family::everything);
    plan.prefixes.extend(everything.map(|prefix| PrefixSpec { prefix, behind: everywhere }));
    plan.prefixes.extend(behind(site, Behind::Own));
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    shim(&resolved.common, ANCHOR_NETNS, Role::Anchor, anchor.node, plan);
    for slot in resolved.slots_of(anchor) {
        plan.programs.push(program(ANCHOR_NETNS, &anchor_tunnel(slot), Program::DecapIp, slot));
    }
}

pub(crate) fn anchor_for_site(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.remotes.push(remote(common, site, site.name, site.node, 0, (site.incarnation, &site.keys)));
    plan.prefixes.extend(behind(site, Behind::Remote(site.node)));
}

fn behind(site: &Site<'_>, behind: Behind) -> impl Iterator<Item = PrefixSpec> {
    site.spec.all_prefixes().into_iter().map(move |prefix| PrefixSpec { prefix, behind })
}

/// What both roles have.
fn shim(common: &Common<'_>, netns: &str, role: Role, node: u32, plan: &mut PlanObjects) {
    plan.datapath.push(DatapathSpec {
        netns: netns.to_owned(),
        role,
        address: common.fabric.shim_endpoint(node),
        probe_base: common.fabric.probe_address(node, 0),
        window_packets: common.fabric.spec.window_packets,
    });
    plan.programs.push(program(netns, SHIM_PEER, Program::Encap, 0));
    let nowhere = never_shimmed().into_iter().chain([IpNet::V4(common.fabric.overlay)]);
    plan.prefixes.extend(nowhere.map(|prefix| PrefixSpec { prefix, behind: Behind::Nowhere }));
}

fn program(netns: &str, link: &str, program: Program, slot: u8) -> ProgramSpec {
    ProgramSpec { netns: netns.to_owned(), link: link.to_owned(), program, slot }
}

/// The node at the other end of `site`'s tunnels, or `site` itself as its anchors see it.
fn remote(
    common: &Common<'_>,
    site: &Site<'_>,
    node: &str,
    id: u32,
    anchor: u8,
    (incarnation, keys): (u32, &BTreeMap<u8, &str>),
) -> RemoteSpec {
    let slots: BTreeSet<u8> = site.slots().collect();
    RemoteSpec {
        id,
        node: node.to_owned(),
        address: common.fabric.shim_endpoint(id),
        anchor,
        identity: identity(incarnation, keys),
        slots: slots.into_iter().collect(),
        classes: common.classes.keys().copied().collect(),
    }
}

/// What the node says; of one that says nothing the first 32 bits of a hash of its keys, 0 if there are none.
fn identity(incarnation: u32, keys: &BTreeMap<u8, &str>) -> u32 {
    if incarnation != 0 {
        return incarnation;
    }
    if keys.is_empty() {
        return 0;
    }
    let hash = canonical::sha256(canonical::to_json(keys).as_bytes());
    u32::from_str_radix(&hash[..8], 16).expect("a hash is hexadecimal")
}
