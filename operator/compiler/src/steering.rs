//! Steering: what the switching machine of an edge works with.

use pathsteer_crds::ownership::uplink_netns;
use pathsteer_crds::plan::{DeadManSpec, PathSpec, PlanObjects, SteeringSpec};

use crate::allocate::SERVICE;
use crate::resolve::Common;
use crate::site::Site;

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    plan.paths.extend(site.uplinks.iter().map(|uplink| PathSpec {
        slot: uplink.spec.slot,
        name: uplink.name.to_owned(),
        netns: uplink_netns(uplink.spec.slot),
        cost: uplink.spec.cost,
        resolvers: uplink.spec.resolvers.clone(),
        metered: uplink.spec.is_metered(),
    }));
    plan.dead_man.push(DeadManSpec { seconds: site.spec.dead_man_seconds });
    // Every anchor, not only the one it sends by: what comes for the site by another has to find its way as well, and an
    // anchor knows no path until a site has named one.
    for anchor in common.anchors_of(site) {
        plan.steering.extend(common.classes.iter().map(|(class, key)| SteeringSpec {
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
}
