//! Resolution: which objects take part, with every reference followed and every number given.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use pathsteer_crds::Kind;

use crate::allocate::{Allocations, Pools};
use crate::anchor::{self, Anchor};
use crate::claim::Claims;
use crate::diagnostics::{Diagnostics, Severity};
use crate::fabric::{self, Fabric};
use crate::identity;
use crate::inventory::Inventory;
use crate::site::{self, Site};
use crate::traffic_policy::{self, Policy};
use crate::{interface, mode, mtu, overrides, pool, uplink, vlan, wireguard};

/// The objects that take part in plans.
pub(crate) struct Resolved<'a> {
    pub common: Common<'a>,
    pub flows: Flows<'a>,
    pub sites: BTreeMap<&'a str, Site<'a>>,
}

/// What everything in every plan may rest on.
#[derive(Hash)]
pub(crate) struct Common<'a> {
    pub fabric: Fabric<'a>,
    pub anchors: BTreeMap<&'a str, Anchor<'a>>,
    /// Id to key of every steering class in use. The same at every node, so that both ends of a shim agree.
    pub classes: BTreeMap<u8, String>,
}

/// What decides about flows, of whichever site.
#[derive(Hash)]
pub(crate) struct Flows<'a> {
    /// In the order in which they are tried.
    pub policies: Vec<Policy<'a>>,
    /// Where no guest may go; empty where there are no guests.
    pub kept_from_guests: Vec<IpNet>,
}

impl<'a> Common<'a> {
    /// The anchors of `site`, the preferred first.
    pub fn anchors_of(&self, site: &Site<'a>) -> impl Iterator<Item = &Anchor<'a>> {
        site.spec.anchors.iter().map(|name| &self.anchors[name.as_str()])
    }
}

impl<'a> Resolved<'a> {
    /// The sites that name `anchor`, by name.
    pub fn sites_of(&self, anchor: &Anchor<'a>) -> impl Iterator<Item = &Site<'a>> {
        self.sites.values().filter(|site| site.is_of(anchor))
    }

    /// The slots in which some site of `anchor` has an uplink.
    pub fn slots_of(&self, anchor: &Anchor<'a>) -> BTreeSet<u8> {
        self.sites_of(anchor).flat_map(|site| site.slots()).collect()
    }
}

/// What the admission of every kind works with.
pub(crate) struct Admission<'a> {
    pub inventory: &'a Inventory,
    pub fabric: Fabric<'a>,
    pub pools: Pools,
    pub claims: Claims<'a>,
    pub diagnostics: Diagnostics,
}

impl Admission<'_> {
    /// Says which of `sites`, named by an object that holds for selected sites, do not exist. An object that names
    /// none that exists is in error; one that names some holds for those. True unless in error.
    pub fn selected_sites(&mut self, kind: Kind, key: &str, sites: &[String]) -> bool {
        let all = &self.inventory.sites;
        let effective = sites.is_empty() || sites.iter().any(|site| all.contains_key(site));
        let severity = if effective { Severity::Warning } else { Severity::Error };
        for site in sites.iter().filter(|site| !all.contains_key(*site)) {
            self.diagnostics.dangling(severity, (kind, key), (Kind::Site, site), all);
        }
        effective
    }
}

/// Follows every reference. Without a fabric nothing takes part and the allocations stay as they were.
pub(crate) fn resolve(inventory: &Inventory) -> (Option<Resolved<'_>>, Allocations, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let before = &inventory.allocations;
    let Some(fabric) = fabric::admit(inventory, &mut diagnostics) else {
        return (None, before.clone(), diagnostics);
    };
    let class_keys = traffic_policy::class_keys(inventory);
    let pools = Pools::new(
        before,
        fabric.last_node(),
        |name| inventory.sites.contains_key(name) || inventory.anchors.contains_key(name),
        |name| inventory.anchors.contains_key(name),
        |key| class_keys.contains(key),
    );
    let mut admission = Admission { inventory, fabric, pools, claims: Claims::new(&before.claims), diagnostics };

    let anchors = anchor::admit(&mut admission);
    let mut sites = site::admit(&mut admission, &anchors);
    let uplinks = admission.diagnostics.sound(&inventory.uplinks);
    let vlans = admission.diagnostics.sound(&inventory.vlans);
    let doubly_used = interface::contest(&mut admission, &uplinks, &vlans);
    uplink::admit(&mut admission, uplinks, &doubly_used, &mut sites);
    let policies = traffic_policy::admit(&mut admission);
    vlan::admit(&mut admission, vlans, &doubly_used, &mut sites);
    let modes = mode::admit(&mut admission);
    overrides::admit(&mut admission, &modes, &mut sites);
    let classes = admission.pools.classes();
    let kept_from_guests = vlan::kept_from_guests(&fabric, &anchors, &sites);
    let (common, flows) = (Common { fabric, anchors, classes }, Flows { policies, kept_from_guests });
    let mut resolved = Resolved { common, flows, sites };

    let Admission { pools, claims, mut diagnostics, .. } = admission;
    identity::attach(inventory, &mut resolved, &mut diagnostics);
    wireguard::diagnose(&resolved, &mut diagnostics);
    mtu::diagnose(&resolved, &mut diagnostics);
    pool::diagnose(&resolved, &mut diagnostics);
    (Some(resolved), pools.into_allocations(claims.into_map()), diagnostics)
}
