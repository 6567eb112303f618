//! Namespaces and their sysctls.

use pathsteer_crds::Attach;
use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS, in_place_veth};
use pathsteer_crds::plan::{LentSysctlSpec, PlanObjects};
use pathsteer_crds::plumbing::{namespace, uplink_namespace};

use crate::site::Site;

pub(crate) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    namespace(VIP_NETNS, plan);
    site.slots().for_each(|slot| uplink_namespace(slot, plan));
    for uplink in site.uplinks.iter().filter(|uplink| uplink.spec.attach == Attach::InPlace) {
        in_place(&uplink.spec.interface, &in_place_veth(uplink.spec.slot).0, plan);
    }
}

pub(crate) fn anchor(plan: &mut PlanObjects) {
    namespace(ANCHOR_NETNS, plan);
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
