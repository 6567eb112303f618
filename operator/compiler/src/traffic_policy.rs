//! Traffic policies that take part, and the steering classes they use.

use std::collections::BTreeSet;

use pathsteer_crds::plan::FlowTo;
use pathsteer_crds::{Kind, TrafficPolicySpec, Treatment};

use crate::allocate::{DEFAULT_CLASS, DEFAULT_SERVICE_CLASS, SERVICE};
use crate::inventory::Inventory;
use crate::resolve::Admission;
use crate::vlan::is_service;

pub(crate) struct Policy<'a> {
    pub spec: &'a TrafficPolicySpec,
    /// What becomes of a flow it matches.
    pub to: FlowTo,
}

impl Policy<'_> {
    pub fn holds_for(&self, site: &str) -> bool {
        self.spec.sites.is_empty() || self.spec.sites.iter().any(|name| name == site)
    }
}

/// The policies in the order in which they are tried.
pub(crate) fn admit<'a>(admission: &mut Admission<'a>) -> Vec<Policy<'a>> {
    let mut ordered = Vec::new();
    for (name, spec) in admission.diagnostics.sound(&admission.inventory.traffic_policies) {
        let to = match class_key(spec) {
            None => FlowTo::Direct,
            // Given also when its sites are missing: when they come, no other node's plan changes.
            Some(key) => match admission.pools.class(&key) {
                Some(class) => FlowTo::Class(class),
                None => {
                    let message = format!(
                        "there is no room for steering class `{key}`: a fabric has at most 15 with `{DEFAULT_CLASS}`; let it share one"
                    );
                    admission.diagnostics.error(Kind::TrafficPolicy, name, "PoolExhausted", message);
                    continue;
                }
            },
        };
        if admission.selected_sites(Kind::TrafficPolicy, name, &spec.sites) {
            ordered.push(Policy { spec, to });
        }
    }
    // Stable: equal priorities stay in the order of their names.
    ordered.sort_by_key(|policy| policy.spec.priority);
    ordered
}

/// The keys of all steering classes that objects of `inventory` name.
pub(crate) fn class_keys(inventory: &Inventory) -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = inventory.traffic_policies.values().filter_map(class_key).collect();
    if inventory.vlans.values().any(|vlan| is_service(vlan.treatment)) {
        keys.insert(DEFAULT_SERVICE_CLASS.to_owned());
    }
    keys
}

/// A service class is another than the survivable one of its name, because only one of them is copied.
fn class_key(spec: &TrafficPolicySpec) -> Option<String> {
    match spec.treatment {
        Treatment::Survivable => Some(spec.steering_class.clone()),
        Treatment::Service => Some(format!("{}{SERVICE}", spec.steering_class)),
        Treatment::BestEffort => None,
    }
}
