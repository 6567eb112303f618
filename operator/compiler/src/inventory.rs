//! Inventory: everything a compilation may look at.

use std::collections::BTreeMap;

use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::{
    AnchorSpec, AnyObject, FabricSpec, Kind, ModeSpec, OverrideSpec, SiteSpec, TrafficPolicySpec, UplinkSpec, VlanSpec,
};

use crate::Allocations;

/// Everything [`crate::compile`] may look at. Objects are keyed by `name`, Uplinks and Vlans by `site/name`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub fabrics: BTreeMap<String, FabricSpec>,
    pub anchors: BTreeMap<String, AnchorSpec>,
    pub sites: BTreeMap<String, SiteSpec>,
    pub uplinks: BTreeMap<String, UplinkSpec>,
    pub vlans: BTreeMap<String, VlanSpec>,
    pub traffic_policies: BTreeMap<String, TrafficPolicySpec>,
    pub modes: BTreeMap<String, ModeSpec>,
    pub overrides: BTreeMap<String, OverrideSpec>,
    /// What nodes said about themselves, keyed by node name.
    pub identities: BTreeMap<String, NodeIdentity>,
    /// The numbers of the previous compilation.
    pub allocations: Allocations,
}

impl Inventory {
    /// Adds an object, replacing one of the same kind and key.
    pub fn insert(&mut self, object: AnyObject) {
        let key = object.key();
        match object {
            AnyObject::Fabric(object) => drop(self.fabrics.insert(key, object.spec)),
            AnyObject::Anchor(object) => drop(self.anchors.insert(key, object.spec)),
            AnyObject::Site(object) => drop(self.sites.insert(key, object.spec)),
            AnyObject::Uplink(object) => drop(self.uplinks.insert(key, object.spec)),
            AnyObject::Vlan(object) => drop(self.vlans.insert(key, object.spec)),
            AnyObject::TrafficPolicy(object) => drop(self.traffic_policies.insert(key, object.spec)),
            AnyObject::Mode(object) => drop(self.modes.insert(key, object.spec)),
            AnyObject::Override(object) => drop(self.overrides.insert(key, object.spec)),
        }
    }

    /// Takes the object of this kind and key out, if there is one.
    pub fn remove(&mut self, kind: Kind, key: &str) {
        match kind {
            Kind::Fabric => drop(self.fabrics.remove(key)),
            Kind::Anchor => drop(self.anchors.remove(key)),
            Kind::Site => drop(self.sites.remove(key)),
            Kind::Uplink => drop(self.uplinks.remove(key)),
            Kind::Vlan => drop(self.vlans.remove(key)),
            Kind::TrafficPolicy => drop(self.traffic_policies.remove(key)),
            Kind::Mode => drop(self.modes.remove(key)),
            Kind::Override => drop(self.overrides.remove(key)),
        }
    }
}
