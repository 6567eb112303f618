//! Namespaces and their sysctls.

use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::{NetnsSpec, PlanObjects, SysctlSpec};

use crate::site::Site;

pub(crate) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    namespace(VIP_NETNS, plan);
    for slot in site.slots() {
        namespace(&uplink_netns(slot), plan);
        plan.sysctls.push(SysctlSpec::of_uplink(&uplink_netns(slot)));
    }
}

pub(crate) fn anchor(plan: &mut PlanObjects) {
    namespace(ANCHOR_NETNS, plan);
}

fn namespace(name: &str, plan: &mut PlanObjects) {
    plan.netns.push(NetnsSpec { name: name.to_owned() });
    plan.sysctls.extend(SysctlSpec::of_namespace(name));
}
