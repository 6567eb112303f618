//! Maps of policies: made once for all sites for which the same policies hold, and kept while policies stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::plan::{FlowTo, NftRule, PolicySet, RemoteSide};

use super::class_map::ClassMaps;
use super::{aggregate, element};
use crate::allocate::DEFAULT_SERVICE_CLASS;
use crate::anchor::Anchor;
use crate::compile::{Fingerprint, fingerprint};
use crate::resolve::{Flows, Resolved};
use crate::site::Site;
use crate::traffic_policy::Policy;
use crate::vlan::{Vlan, is_service};

/// The maps made so far, and what they were made of.
#[derive(Debug, Default)]
pub(crate) struct PolicyMaps {
    policies: Fingerprint,
    /// Site to the places of the policies that name it.
    naming: BTreeMap<String, Vec<usize>>,
    /// By set, and the places of those policies among the ones that hold there which name sites: most sites have the same.
    at_sites: BTreeMap<(PolicySet, Vec<usize>), Made>,
    /// By name.
    at_anchors: BTreeMap<String, (Fingerprint, Arc<[NftRule]>)>,
}

/// Maps, and the places of the policies that decide about some flow there.
#[derive(Debug)]
struct Made {
    rules: Arc<[NftRule]>,
    live: BTreeSet<usize>,
}

/// The sets of policies that segments of `site` ask.
pub(super) fn sets_of(site: &Site<'_>) -> impl Iterator<Item = PolicySet> + use<> {
    let mixed = site.vlans.iter().any(|vlan| vlan.spec.treatment == SegmentTreatment::Mixed);
    [PolicySet::Tunnel].into_iter().chain(mixed.then_some(PolicySet::Mixed))
}

impl PolicyMaps {
    /// Forgets what was made of other policies.
    pub fn begin(&mut self, resolved: &Resolved<'_>) {
        let policies = fingerprint(&resolved.flows.policies);
        if self.policies != policies {
            *self = PolicyMaps { policies, ..PolicyMaps::default() };
            for (place, policy) in resolved.flows.policies.iter().enumerate() {
                for site in &policy.spec.sites {
                    self.naming.entry(site.clone()).or_default().push(place);
                }
            }
        }
        self.at_anchors.retain(|anchor, _| resolved.common.anchors.contains_key(anchor.as_str()));
    }

    /// The maps of one set, from the policies that hold for `site`.
    pub fn rules(&mut self, flows: &Flows<'_>, site: &Site<'_>, set: PolicySet) -> Arc<[NftRule]> {
        Arc::clone(&self.made(flows, site, set).rules)
    }

    /// The places of the policies that decide about some flow of some site.
    pub fn live(&mut self, resolved: &Resolved<'_>) -> BTreeSet<usize> {
        let mut asked = BTreeSet::new();
        let mut live = BTreeSet::new();
        for site in resolved.sites.values() {
            for set in sets_of(site) {
                let naming = self.naming.get(site.name).cloned().unwrap_or_default();
                if asked.insert((set, naming)) {
                    live.extend(&self.made(&resolved.flows, site, set).live);
                }
            }
        }
        live
    }

    fn made(&mut self, flows: &Flows<'_>, site: &Site<'_>, set: PolicySet) -> &Made {
        let naming = self.naming.get(site.name).cloned().unwrap_or_default();
        self.at_sites.entry((set, naming)).or_insert_with(|| {
            let wanted = |policy: &Policy<'_>| set == PolicySet::Mixed || !policy.is_direct();
            let all = flows.policies.iter().enumerate();
            let mut maps = ClassMaps::default();
            let mut live = BTreeSet::new();
            for (place, policy) in all.filter(|(_, policy)| policy.holds_for(site.name) && wanted(policy)) {
                for element in element::of_policy(policy, None) {
                    if maps.add(element) {
                        live.insert(place);
                    }
                }
            }
            Made { rules: maps.into_rules(set, RemoteSide::Destination).into(), live }
        })
    }

    /// What goes from `anchor` to a site: as the policies that hold for it say, else by the segment it goes to.
    pub fn at_anchor(&mut self, resolved: &Resolved<'_>, anchor: &Anchor<'_>) -> Arc<[NftRule]> {
        let policies = &resolved.flows.policies;
        let carried = policies.iter().enumerate().filter(|(_, policy)| !policy.is_direct());
        // A policy for selected sites holds for what goes to their prefixes; one for all sites needs no such test.
        let local = |policy: &Policy<'_>| {
            let sites = policy.spec.sites.iter().filter_map(|name| resolved.sites.get(name.as_str()));
            let sites = sites.filter(|site| site.is_of(anchor));
            (!policy.spec.sites.is_empty()).then(|| aggregate(sites.flat_map(|site| site.spec.all_prefixes())))
        };
        let carried: Vec<(usize, Option<Vec<IpNet>>)> = carried.map(|(place, policy)| (place, local(policy))).collect();
        let service = resolved.common.classes.iter().find(|(_, key)| *key == DEFAULT_SERVICE_CLASS);
        let services = service.map(|(class, _)| {
            let segments = resolved.sites_of(anchor).flat_map(|site| &site.vlans);
            let networks = segments.filter(|vlan| is_service(vlan.spec.treatment)).flat_map(Vlan::networks);
            (*class, aggregate(networks))
        });
        let of = fingerprint(&(self.policies, &carried, &services));
        if let Some((before, rules)) = self.at_anchors.get(anchor.name)
            && *before == of
        {
            return Arc::clone(rules);
        }
        let mut maps = ClassMaps::default();
        for (place, local) in carried {
            for element in element::of_policy(&policies[place], local.as_deref()) {
                maps.add(element);
            }
        }
        if let Some((class, networks)) = services {
            for network in networks {
                maps.add(element::of_local(network, FlowTo::Class(class)));
            }
        }
        let rules: Arc<[NftRule]> = maps.into_rules(PolicySet::Tunnel, RemoteSide::Source).into();
        self.at_anchors.insert(anchor.name.to_owned(), (of, Arc::clone(&rules)));
        rules
    }
}
