//! Compilation: one plan per node that takes part.

use std::collections::BTreeMap;

use pathsteer_crds::plan::{NODE_SCOPE, PlanObjects, Role};

use crate::anchor::Anchor;
use crate::nft::SiteMaps;
use crate::resolve::{Resolved, resolve};
use crate::site::Site;
use crate::{
    Allocations, Diagnostic, Inventory, address, datapath, link, netns, nft, route, rule, steering, traffic_policy,
    wireguard,
};

/// What an inventory comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Node name to its plan. A Site or Anchor that is in error, or depends on one that is, has none.
    pub plans: BTreeMap<String, CompiledPlan>,
    /// To be stored before the plans, and handed to the next compilation.
    pub allocations: Allocations,
    /// In order of kind, key and severity.
    pub diagnostics: Vec<Diagnostic>,
}

/// The plan of one node, as [`pathsteer_crds::plan::split`] takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledPlan {
    pub role: Role,
    /// `node`, or the name of the remote node for which something is there, to objects.
    pub scopes: BTreeMap<String, PlanObjects>,
}

impl CompiledPlan {
    /// All scopes together.
    pub fn objects(&self) -> PlanObjects {
        let mut all = PlanObjects::default();
        for objects in self.scopes.values() {
            all.extend(objects.clone());
        }
        all.sort();
        all
    }
}

/// Compiles everything that is sound. Never panics, whatever the inventory holds.
pub fn compile(inventory: &Inventory) -> Compiled {
    let (resolved, allocations, mut diagnostics) = resolve(inventory);
    let mut plans = BTreeMap::new();
    if let Some(resolved) = resolved {
        let mut maps = SiteMaps::default();
        for site in resolved.sites.values() {
            plans.insert(site.name.to_owned(), edge(&resolved, site, &mut maps));
        }
        for one in resolved.anchors.values() {
            plans.insert(one.name.to_owned(), anchor(&resolved, one));
        }
        traffic_policy::diagnose(&resolved, &maps.live(), &mut diagnostics);
    }
    Compiled { plans, allocations, diagnostics: diagnostics.into_vec() }
}

fn edge(resolved: &Resolved<'_>, site: &Site<'_>, maps: &mut SiteMaps) -> CompiledPlan {
    let mut plan = PlanObjects::default();
    netns::edge(site, &mut plan);
    link::edge(resolved, site, &mut plan);
    address::edge(resolved, site, &mut plan);
    wireguard::edge(resolved, site, &mut plan);
    route::edge(resolved, site, &mut plan);
    rule::edge(resolved, site, &mut plan);
    nft::edge(resolved, site, maps, &mut plan);
    datapath::edge(resolved, site, &mut plan);
    steering::edge(resolved, site, &mut plan);
    plan.sort();
    CompiledPlan { role: Role::Edge, scopes: BTreeMap::from([(NODE_SCOPE.to_owned(), plan)]) }
}

fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>) -> CompiledPlan {
    let mut own = PlanObjects::default();
    netns::anchor(&mut own);
    link::anchor(resolved, anchor, &mut own);
    address::anchor(resolved, anchor, &mut own);
    wireguard::anchor(resolved, anchor, &mut own);
    route::anchor(resolved, anchor, &mut own);
    rule::anchor(resolved, anchor, &mut own);
    nft::anchor(resolved, anchor, &mut own);
    datapath::anchor(resolved, anchor, &mut own);
    own.sort();
    let mut scopes = BTreeMap::from([(NODE_SCOPE.to_owned(), own)]);
    for site in resolved.sites_of(anchor) {
        let mut plan = PlanObjects::default();
        wireguard::anchor_for_site(resolved, anchor, site, &mut plan);
        route::anchor_for_site(resolved, anchor, site, &mut plan);
        datapath::anchor_for_site(resolved, site, &mut plan);
        plan.sort();
        scopes.insert(site.name.to_owned(), plan);
    }
    CompiledPlan { role: Role::Anchor, scopes }
}
