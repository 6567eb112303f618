//! Namespaces and their sysctls.

use pathsteer_crds::Attach;
use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS, in_place_veth, uplink_netns};
use pathsteer_crds::plan::{LentSysctlSpec, NetnsSpec, PlanObjects, SysctlSpec};

use crate::site::Site;

pub(crate) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    namespace(VIP_NETNS, plan);
    for slot in site.slots() {
        namespace(&uplink_netns(slot), plan);
        plan.sysctls.push(SysctlSpec::of_uplink(&uplink_netns(slot)));
    }
    for uplink in site.uplinks.iter().filter(|uplink| uplink.spec.attach == Attach::InPlace) {
        in_place(&uplink.spec.interface, &in_place_veth(uplink.spec.slot).0, plan);
    }
}

pub(crate) fn anchor(plan: &mut PlanObjects) {
    namespace(ANCHOR_NETNS, plan);
}

fn namespace(name: &str, plan: &mut PlanObjects) {
    plan.netns.push(NetnsSpec { name: name.to_owned() });
    plan.sysctls.extend(SysctlSpec::of_namespace(name));
}

/// The node's own namespace passes on what comes by these two, and only by these: the main switch stays as it is. The card
/// is answered by the internet although the node may prefer another way there: loose (2) is the laxest that a reverse-path
/// filter may be without being switched off for everything (the kernel takes the larger of `all` and the interface's own).
fn in_place(card: &str, veth: &str, plan: &mut PlanObjects) {
    for link in [card, veth] {
        for (key, value) in [("forwarding", "1"), ("rp_filter", "2")] {
            let key = format!("net/ipv4/conf/{link}/{key}");
            plan.lent_sysctls.push(LentSysctlSpec { key, value: value.to_owned() });
        }
    }
}
