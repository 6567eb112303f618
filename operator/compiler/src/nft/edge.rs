//! The table of the vip namespace.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::ownership::{SHIM_LINK, SHIM_PEER, uplink_veth};
use pathsteer_crds::plan::{CopyTarget, FlowTo, NftRule, Only, PolicySet, RemoteSide, Welcome};
use pathsteer_crds::plumbing::{host_networks, veth_peer_address};

use super::class_map::ClassMaps;
use super::{aggregate, element};
use crate::allocate::{DEFAULT_CLASS_ID, DEFAULT_SERVICE_CLASS};
use crate::resolve::Resolved;
use crate::site::Site;
use crate::traffic_policy::Policy;
use crate::vlan::Vlan;

/// The maps of policies made so far, by set and places of the policies in their order: most sites have the same.
#[derive(Default)]
pub(crate) struct SiteMaps(BTreeMap<(PolicySet, Vec<usize>), Made>);

/// Maps, and the places of the policies that decide about some flow there.
struct Made {
    rules: Vec<NftRule>,
    live: BTreeSet<usize>,
}

impl SiteMaps {
    /// The places of the policies that decide about some flow of some site.
    pub fn live(&self) -> BTreeSet<usize> {
        self.0.values().flat_map(|made| &made.live).copied().collect()
    }
}

pub(super) fn rules(resolved: &Resolved<'_>, site: &Site<'_>, made: &mut SiteMaps) -> Vec<NftRule> {
    let mut rules = maps(resolved, site, PolicySet::Tunnel, made);
    if site.vlans.iter().any(|vlan| vlan.spec.treatment == SegmentTreatment::Mixed) {
        rules.extend(maps(resolved, site, PolicySet::Mixed, made));
    }
    rules.extend(site.segments().map(|vlan| segment(resolved, vlan)));
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

/// The maps of one set, from the policies that hold for the site.
fn maps(resolved: &Resolved<'_>, site: &Site<'_>, set: PolicySet, made: &mut SiteMaps) -> Vec<NftRule> {
    let wanted = |policy: &Policy<'_>| set == PolicySet::Mixed || !policy.is_direct();
    let all = resolved.policies.iter().enumerate();
    let holding = all.filter(|(_, policy)| policy.holds_for(site.name) && wanted(policy)).map(|(place, _)| place);
    let make = |places: &[usize]| {
        let mut maps = ClassMaps::default();
        let mut live = BTreeSet::new();
        for place in places {
            for element in element::of_policy(&resolved.policies[*place], None) {
                if maps.add(element) {
                    live.insert(*place);
                }
            }
        }
        Made { rules: maps.into_rules(set, RemoteSide::Destination), live }
    };
    let places: Vec<usize> = holding.collect();
    made.0.entry((set, places)).or_insert_with_key(|(_, places)| make(places)).rules.clone()
}

fn segment(resolved: &Resolved<'_>, vlan: &Vlan<'_>) -> NftRule {
    let service = || resolved.classes.iter().find(|(_, key)| *key == DEFAULT_SERVICE_CLASS).map(|(class, _)| *class);
    let (policies, default) = match vlan.spec.treatment {
        SegmentTreatment::Survivable => (Some(PolicySet::Tunnel), FlowTo::Class(DEFAULT_CLASS_ID)),
        SegmentTreatment::Service => {
            (Some(PolicySet::Tunnel), FlowTo::Class(service().expect("a service segment without it is not admitted")))
        }
        SegmentTreatment::Mixed => (Some(PolicySet::Mixed), FlowTo::Direct),
        SegmentTreatment::BestEffort | SegmentTreatment::Guest => (None, FlowTo::Direct),
    };
    let barred = match vlan.spec.treatment {
        SegmentTreatment::Guest => kept_from_guests(resolved),
        _ => Vec::new(),
    };
    NftRule::Segment { link: vlan.link(), sources: aggregate(vlan.networks()), barred, policies, default }
}

/// The fabric, what lies behind it, where it ends and who runs it; and private networks.
fn kept_from_guests(resolved: &Resolved<'_>) -> Vec<IpNet> {
    let fabric = resolved.fabric.spec;
    let endpoints = resolved.anchors.values().flat_map(|anchor| &anchor.spec.endpoints);
    let hosts = fabric.operators.iter().copied().chain(endpoints.map(|endpoint| endpoint.address));
    let networks = fabric.guests_denied.iter().copied().chain([IpNet::V4(fabric.overlay)]);
    let sites = resolved.sites.values().flat_map(|site| site.spec.all_prefixes());
    aggregate(networks.chain(hosts.map(IpNet::from)).chain(sites))
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
