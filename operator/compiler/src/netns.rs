//! Namespaces and their sysctls.

use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::{NetnsSpec, PlanObjects, SysctlSpec};

use crate::site::Site;

/// The same in each of our namespaces.
const SYSCTLS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // What comes out of the shim has a source whose route leads elsewhere: strict filtering would drop all of it.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // Both ends of every link are ours: waiting for duplicates only delays the first packet.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

pub(crate) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    namespace(VIP_NETNS, plan);
    for slot in site.slots() {
        namespace(&uplink_netns(slot), plan);
    }
}

pub(crate) fn anchor(plan: &mut PlanObjects) {
    namespace(ANCHOR_NETNS, plan);
}

fn namespace(name: &str, plan: &mut PlanObjects) {
    plan.netns.push(NetnsSpec { name: name.to_owned() });
    let sysctl = |(key, value): (&str, &str)| SysctlSpec {
        netns: name.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    plan.sysctls.extend(SYSCTLS.into_iter().map(sysctl));
}
