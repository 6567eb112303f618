//! The order in which things are made; they are removed in reverse.

use std::collections::BTreeSet;

use pathsteer_crds::plan::{
    AddressSpec, DatapathSpec, LentSysctlSpec, LinkSpec, NeighbourSpec, NetnsSpec, NftTableSpec, PlanObjects,
    PrefixSpec, ProgramSpec, RemoteSpec, RouteSpec, RuleSpec, SysctlSpec, WireguardDeviceSpec, WireguardPeerSpec,
};
use pathsteer_crds::report::ObjectReport;

use crate::noun::Noun;
use crate::{Change, PlanObject, changes, turn};

/// The same questions about every noun.
pub(crate) struct Stage {
    /// What has to be created or updated.
    pub made: fn(&PlanObjects, &PlanObjects) -> Vec<Change>,
    /// What has to be deleted.
    pub removed: fn(&PlanObjects, &PlanObjects) -> Vec<Change>,
    /// Everything there is of it.
    pub listed: fn(&PlanObjects) -> Vec<PlanObject>,
    /// What is not as declared.
    pub wrong: fn(&PlanObjects, &PlanObjects) -> Vec<ObjectReport>,
}

const fn stage<T: Noun>() -> Stage {
    Stage { listed: listed::<T>, made: changes::made::<T>, removed: changes::removed::<T>, wrong: turn::wrong::<T> }
}

pub(crate) const ORDER: [Stage; 15] = [
    // Everything else lives in a namespace.
    stage::<NetnsSpec>(),
    // An interface copies `conf/default` when it enters its namespace: later is too late for it.
    stage::<SysctlSpec>(),
    stage::<LinkSpec>(),
    // Of links in the node's own namespace, which have to be there.
    stage::<LentSysctlSpec>(),
    stage::<AddressSpec>(),
    // Before routes, so that the first packet by one waits for no answer.
    stage::<NeighbourSpec>(),
    // Maps before programs: the first packet a program sees finds every remote and prefix.
    stage::<DatapathSpec>(),
    stage::<RemoteSpec>(),
    stage::<PrefixSpec>(),
    // Before anything is routed to the links they sit on: without its programs a link must carry nothing.
    stage::<ProgramSpec>(),
    // Guards before the routes that they guard. It turns interface names into indexes while it loads, and refuses absent
    // ones.
    stage::<NftTableSpec>(),
    // A gateway must be reachable by an address or route on a link, a preferred source must be assigned.
    stage::<RouteSpec>(),
    // A rule without its table would fall through to the main one.
    stage::<RuleSpec>(),
    // Last: what comes out of a tunnel finds every guard, route and rule. Without them it follows the WAN's default route
    // in clear (measured: 4 to 12 packets at a first plan). A device attaches to its TUN, peers belong to a device.
    stage::<WireguardDeviceSpec>(),
    stage::<WireguardPeerSpec>(),
];

fn listed<T: Noun>(objects: &PlanObjects) -> Vec<PlanObject> {
    T::list(objects).iter().cloned().map(Into::into).collect()
}

/// Names of all objects, as [`PlanObject::name`] has them.
pub fn names(objects: &PlanObjects) -> BTreeSet<String> {
    ORDER.iter().flat_map(|stage| (stage.listed)(objects)).map(|object| object.name()).collect()
}
