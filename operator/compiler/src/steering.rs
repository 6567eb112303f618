//! Steering: what the switching machine of an edge works with.

use pathsteer_crds::ownership::uplink_netns;
use pathsteer_crds::plan::{PathSpec, PlanObjects, SteeringSpec};

use crate::allocate::SERVICE;
use crate::resolve::Resolved;
use crate::site::Site;

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.paths.extend(site.uplinks.iter().map(|uplink| PathSpec {
        slot: uplink.spec.slot,
        name: uplink.name.to_owned(),
        netns: uplink_netns(uplink.spec.slot),
        cost: uplink.spec.cost,
    }));
    let Some(anchor) = resolved.anchors_of(site).next() else { return };
    plan.steering.extend(resolved.classes.iter().map(|(class, key)| SteeringSpec {
        remote: anchor.node,
        class: *class,
        class_name: key.clone(),
        mode: site.will.mode,
        copies: if key.ends_with(SERVICE) { 0 } else { site.will.copies },
        slots: site.slots().collect(),
        forced: site.will.forced,
        failed: site.will.failed.iter().copied().collect(),
    }));
}
