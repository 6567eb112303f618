//! Routes of the node's own namespace: the way out that it has left once its cards are elsewhere.

use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::plan::{Family, PlanObjects};
use pathsteer_crds::plumbing::host_way;

use crate::site::Site;
use crate::vlan::Vlan;

/// To the internet, and to the segments that may ask something of the node: a node that has a way of its own still answers
/// these.
pub(super) fn edge(site: &Site<'_>, plan: &mut PlanObjects) {
    let reached = site.vlans.iter().filter(|vlan| vlan.spec.treatment != SegmentTreatment::Guest);
    let everything = Family::BOTH.map(Family::everything);
    plan.routes.extend(reached.flat_map(Vlan::networks).chain(everything).map(host_way));
}
