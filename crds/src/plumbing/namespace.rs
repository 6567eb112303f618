//! Namespaces with their sysctls.

use crate::ownership::uplink_netns;
use crate::plan::{LinkKind, LinkSpec, NetnsSpec, PlanObjects, SysctlSpec};

/// A namespace of ours.
pub fn namespace(name: &str, plan: &mut PlanObjects) {
    plan.netns.push(NetnsSpec { name: name.to_owned() });
    plan.sysctls.extend(SysctlSpec::of_namespace(name));
    plan.links.push(LinkSpec::new(name, "lo", LinkKind::Loopback));
}

/// That of the uplink in `slot`.
pub fn uplink_namespace(slot: u8, plan: &mut PlanObjects) {
    let name = uplink_netns(slot);
    namespace(&name, plan);
    plan.sysctls.push(SysctlSpec::of_uplink(&name));
}
