//! Traffic policies that take part, and the steering classes they use.

use std::collections::BTreeMap;

use pathsteer_crds::{Kind, TrafficPolicySpec};

use crate::allocate::{DEFAULT_CLASS, DEFAULT_CLASS_ID};
use crate::resolve::Admission;

pub(crate) struct Policy<'a> {
    pub spec: &'a TrafficPolicySpec,
    /// Id of its steering class, 1 to 15.
    pub class: u8,
}

impl Policy<'_> {
    pub fn holds_for(&self, site: &str) -> bool {
        self.spec.sites.is_empty() || self.spec.sites.iter().any(|name| name == site)
    }
}

pub(crate) struct Policies<'a> {
    /// In the order in which they are tried.
    pub ordered: Vec<Policy<'a>>,
    /// Id to name of every steering class in use. The same at every node, so that both ends of a shim agree.
    pub classes: BTreeMap<u8, &'a str>,
}

pub(crate) fn admit<'a>(admission: &mut Admission<'a>) -> Policies<'a> {
    let mut ordered = Vec::new();
    let mut classes = BTreeMap::from([(DEFAULT_CLASS_ID, DEFAULT_CLASS)]);
    for (name, spec) in admission.diagnostics.sound(&admission.inventory.traffic_policies) {
        let Some(class) = admission.pools.class(&spec.steering_class) else {
            let message = format!(
                "there is no room for steering class `{}`: a fabric has at most 15 with `{DEFAULT_CLASS}`; let it share one",
                spec.steering_class
            );
            admission.diagnostics.error(Kind::TrafficPolicy, name, "PoolExhausted", message);
            continue;
        };
        // Also of a policy whose sites are missing: when they come, no other node's plan changes.
        classes.insert(class, &spec.steering_class);
        if admission.selected_sites(Kind::TrafficPolicy, name, &spec.sites) {
            ordered.push(Policy { spec, class });
        }
    }
    // Stable: equal priorities stay in the order of their names.
    ordered.sort_by_key(|policy| policy.spec.priority);
    Policies { ordered, classes }
}
