//! Compilation: one plan per node that takes part.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pathsteer_crds::plan::{NODE_SCOPE, PlanObjects, Role};

use crate::anchor::Anchor;
use crate::nft::PolicyMaps;
use crate::resolve::{Common, Flows, Resolved, resolve};
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
    /// `node`, or the name of the remote node for which something is there, to objects. What has not changed since the
    /// compilation before of the same [`Compiler`] is the same `Arc`.
    pub scopes: BTreeMap<String, Arc<PlanObjects>>,
}

impl CompiledPlan {
    /// All scopes together.
    pub fn objects(&self) -> PlanObjects {
        let mut all = PlanObjects::default();
        for objects in self.scopes.values() {
            all.extend(PlanObjects::clone(objects));
        }
        all.sort();
        all
    }
}

/// Compiles everything that is sound. Never panics, whatever the inventory holds.
pub fn compile(inventory: &Inventory) -> Compiled {
    Compiler::default().compile(inventory)
}

/// Compiles one inventory after another, and of each only what is made of something else than before: what a change of
/// one site costs does not grow with the others. What comes of it is what [`compile`] makes of the same inventory.
#[derive(Debug, Default)]
pub struct Compiler {
    maps: PolicyMaps,
    /// Node and scope to what was made for it.
    made: BTreeMap<(String, String), Made>,
}

/// The objects of one scope of one plan, and what they were made of.
#[derive(Debug)]
struct Made {
    of: Fingerprint,
    objects: Arc<PlanObjects>,
}

/// Stands for everything something is made of. That two different things have the same happens once in 2^64 changes.
pub(crate) type Fingerprint = u64;

pub(crate) fn fingerprint(of: &impl Hash) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Compiler {
    /// The same as [`compile`].
    pub fn compile(&mut self, inventory: &Inventory) -> Compiled {
        let (resolved, allocations, mut diagnostics) = resolve(inventory);
        let mut plans = BTreeMap::new();
        if let Some(resolved) = resolved {
            plans = self.plans(&resolved);
            traffic_policy::diagnose(&resolved, &self.maps.live(&resolved), &mut diagnostics);
        }
        Compiled { plans, allocations, diagnostics: diagnostics.into_vec() }
    }

    fn plans(&mut self, resolved: &Resolved<'_>) -> BTreeMap<String, CompiledPlan> {
        let mut plans = BTreeMap::new();
        let Resolved { common, flows, sites } = resolved;
        let (alike, flowing) = (fingerprint(common), fingerprint(flows));
        self.maps.begin(resolved);
        let mut before = std::mem::take(&mut self.made);
        let mut scope = |node: &str, scope: &str, of: Fingerprint, make: &mut dyn FnMut(&mut PlanObjects)| {
            let key = (node.to_owned(), scope.to_owned());
            let before = before.remove(&key);
            let objects = match before {
                Some(before) if before.of == of => before.objects,
                before => {
                    let mut plan = PlanObjects::default();
                    make(&mut plan);
                    plan.sort();
                    // Of something else the same may be made.
                    before.map(|before| before.objects).filter(|old| **old == plan).unwrap_or_else(|| Arc::new(plan))
                }
            };
            self.made.insert(key, Made { of, objects: Arc::clone(&objects) });
            (scope.to_owned(), objects)
        };
        let sites: Vec<(&Site<'_>, Fingerprint)> =
            sites.values().map(|site| (site, fingerprint(&(alike, site)))).collect();
        for (site, of) in &sites {
            let mut make = |plan: &mut PlanObjects| edge(common, flows, &mut self.maps, site, plan);
            let scopes = BTreeMap::from([scope(site.name, NODE_SCOPE, fingerprint(&(of, flowing)), &mut make)]);
            plans.insert(site.name.to_owned(), CompiledPlan { role: Role::Edge, scopes });
        }
        for one in common.anchors.values() {
            let here: Vec<_> = sites.iter().filter(|(site, _)| site.is_of(one)).collect();
            let all = fingerprint(&(alike, flowing, here.iter().map(|(_, of)| of).collect::<Vec<_>>()));
            let mut own = |plan: &mut PlanObjects| anchor(resolved, &mut self.maps, one, plan);
            let own = scope(one.name, NODE_SCOPE, all, &mut own);
            let theirs = here.into_iter().map(|(site, of)| {
                scope(one.name, site.name, *of, &mut |plan| anchor_for_site(common, one, site, plan))
            });
            let scopes = [own].into_iter().chain(theirs).collect();
            plans.insert(one.name.to_owned(), CompiledPlan { role: Role::Anchor, scopes });
        }
        plans
    }
}

fn edge(common: &Common<'_>, flows: &Flows<'_>, maps: &mut PolicyMaps, site: &Site<'_>, plan: &mut PlanObjects) {
    netns::edge(site, plan);
    link::edge(common, site, plan);
    address::edge(common, site, plan);
    wireguard::edge(common, site, plan);
    route::edge(common, site, plan);
    rule::edge(common, site, plan);
    nft::edge(common, flows, maps, site, plan);
    datapath::edge(common, site, plan);
    steering::edge(common, site, plan);
}

/// What an anchor has whichever sites there are, and for all of them together.
fn anchor(resolved: &Resolved<'_>, maps: &mut PolicyMaps, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    netns::anchor(plan);
    link::anchor(resolved, anchor, plan);
    address::anchor(resolved, anchor, plan);
    wireguard::anchor(resolved, anchor, plan);
    route::anchor(resolved, anchor, plan);
    rule::anchor(resolved, anchor, plan);
    nft::anchor(resolved, maps, anchor, plan);
    datapath::anchor(resolved, anchor, plan);
}

fn anchor_for_site(common: &Common<'_>, anchor: &Anchor<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    wireguard::anchor_for_site(common, anchor, site, plan);
    route::anchor_for_site(common, anchor, site, plan);
    datapath::anchor_for_site(common, site, plan);
}
