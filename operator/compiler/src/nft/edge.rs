//! The table of the vip namespace.

use std::collections::BTreeSet;

use ipnet::IpNet;
use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::ownership::{SHIM_LINK, SHIM_PEER, uplink_veth};
use pathsteer_crds::plan::{CopyTarget, FlowTo, NftRule, Only, PolicySet, Welcome};
use pathsteer_crds::plumbing::{host_networks, veth_peer_address};

use super::aggregate;
use super::maps::{self, PolicyMaps};
use crate::allocate::{DEFAULT_CLASS_ID, DEFAULT_SERVICE_CLASS};
use crate::resolve::{Common, Flows};
use crate::site::Site;
use crate::vlan::Vlan;

pub(super) fn rules(common: &Common<'_>, flows: &Flows<'_>, maps: &mut PolicyMaps, site: &Site<'_>) -> Vec<NftRule> {
    let sets = maps::sets_of(site);
    let mut rules: Vec<NftRule> = sets.flat_map(|set| maps.rules(flows, site, set).to_vec()).collect();
    rules.extend(site.segments().map(|vlan| segment(common, flows, vlan)));
    rules.push(NftRule::DefaultClass { class: DEFAULT_CLASS_ID });
    let segments = site.segments().flat_map(Vlan::networks);
    let prefixes = aggregate(segments.chain(site.spec.vips.iter().map(|vip| IpNet::from(*vip))));
    rules.push(NftRule::Inside { prefixes });
    let mut uplinks: Vec<_> = site.uplinks.iter().collect();
    uplinks.sort_by_key(|uplink| uplink.spec.slot);
    for uplink in uplinks {
        let slot = uplink.spec.slot;
        let link = uplink_veth(slot).0;
        rules.push(NftRule::Direct { slot, link: link.clone() });
        let to = CopyTarget::Gateway(veth_peer_address(slot));
        rules.push(NftRule::Copy { slot, link: link.clone(), to, budget: uplink.spec.copy_budget });
        rules.push(NftRule::ClampMss { link: link.clone() });
        rules.push(NftRule::forward(SHIM_PEER, &link, None));
        rules.push(NftRule::Protect { link, welcome: vec![Welcome::Shimmed] });
    }
    rules.push(NftRule::ClampMss { link: SHIM_LINK.to_owned() });
    for vlan in site.segments() {
        rules.extend(borders(site, vlan));
    }
    rules.extend(to_host(site));
    // Nobody is expected on a trunk without a tag, so the node takes nothing from there.
    let untagged: BTreeSet<&str> = site.vlans.iter().filter(|vlan| vlan.spec.id.is_none()).map(card).collect();
    let trunks: BTreeSet<&str> = site.vlans.iter().map(card).filter(|card| !untagged.contains(card)).collect();
    rules.extend(trunks.iter().map(|trunk| NftRule::Protect { link: (*trunk).to_owned(), welcome: Vec::new() }));
    rules
}

fn card<'a>(vlan: &Vlan<'a>) -> &'a str {
    &vlan.spec.interface
}

fn segment(common: &Common<'_>, flows: &Flows<'_>, vlan: &Vlan<'_>) -> NftRule {
    let service = || common.classes.iter().find(|(_, key)| *key == DEFAULT_SERVICE_CLASS).map(|(class, _)| *class);
    let (policies, default) = match vlan.spec.treatment {
        SegmentTreatment::Survivable => (Some(PolicySet::Tunnel), FlowTo::Class(DEFAULT_CLASS_ID)),
        SegmentTreatment::Service => {
            (Some(PolicySet::Tunnel), FlowTo::Class(service().expect("a service segment without it is not admitted")))
        }
        SegmentTreatment::Mixed => (Some(PolicySet::Mixed), FlowTo::Direct),
        SegmentTreatment::BestEffort | SegmentTreatment::Guest => (None, FlowTo::Direct),
    };
    let barred = match vlan.spec.treatment {
        SegmentTreatment::Guest => flows.kept_from_guests.clone(),
        _ => Vec::new(),
    };
    NftRule::Segment { link: vlan.link(), sources: aggregate(vlan.networks()), barred, policies, default }
}

/// What the node's own namespace serves is found where it was before: at the node's addresses on its segments.
fn to_host(site: &Site<'_>) -> Vec<NftRule> {
    let served: Vec<&Vlan<'_>> = site.vlans.iter().filter(|vlan| site.host.reaches.contains(vlan.name)).collect();
    let ports: BTreeSet<u16> = site.spec.management_ports.iter().copied().collect();
    if served.is_empty() || ports.is_empty() {
        return Vec::new();
    }
    let links: BTreeSet<String> = served.iter().map(|vlan| vlan.link()).collect();
    let addresses: BTreeSet<_> = served.iter().flat_map(|vlan| vlan.spec.addresses.iter().map(IpNet::addr)).collect();
    let host = site.host.link();
    let mut rules: Vec<NftRule> =
        links.iter().map(|link| NftRule::forward(link, &host, Some(Only::Redirected))).collect();
    rules.push(NftRule::Redirect {
        links: links.into_iter().collect(),
        addresses: addresses.into_iter().collect(),
        ports: ports.into_iter().collect(),
        to: host_networks().map(|[there, _]| there.addr()).to_vec(),
    });
    rules
}

/// Where packets of a segment may go and come from; what no pair of links allows is dropped.
fn borders(site: &Site<'_>, vlan: &Vlan<'_>) -> Vec<NftRule> {
    let link = vlan.link();
    // From one network of the segment to another.
    let mut rules = vec![NftRule::forward(&link, &link, None)];
    if vlan.in_fabric() {
        rules.push(NftRule::forward(&link, SHIM_LINK, None));
    }
    let mut slots: Vec<u8> = site.slots().collect();
    slots.sort_unstable();
    for veth in slots.into_iter().map(|slot| uplink_veth(slot).0) {
        if vlan.in_fabric() {
            rules.push(NftRule::forward(&veth, &link, Some(Only::Shimmed)));
        }
        if vlan.goes_direct() {
            rules.push(NftRule::forward(&link, &veth, None));
            rules.push(NftRule::forward(&veth, &link, Some(Only::Established)));
        }
    }
    for other in site.segments().filter(|other| other.name != vlan.name) {
        if vlan.reaches.contains(other.name) {
            rules.push(NftRule::forward(&link, &other.link(), None));
        } else if other.reaches.contains(vlan.name) {
            rules.push(NftRule::forward(&link, &other.link(), Some(Only::Established)));
        }
    }
    if vlan.spec.treatment == SegmentTreatment::Guest {
        rules.push(NftRule::Protect { link, welcome: vec![Welcome::Neighbours] });
    }
    rules
}
