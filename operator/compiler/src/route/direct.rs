//! Routes of flows that go straight to the internet.

use std::collections::BTreeSet;

use ipnet::IpNet;
use pathsteer_crds::SegmentTreatment;
use pathsteer_crds::ownership::{DIRECT_TABLE, VIP_NETNS, path_table};
use pathsteer_crds::plan::{Family, PlanObjects, RouteSpec};
use pathsteer_crds::plumbing::{self, PINNED, PREFERRED};

use crate::mtu;
use crate::resolve::Common;
use crate::site::Site;
use crate::uplink::Uplink;
use crate::vlan::Vlan;

/// One table leads to the preferred uplink that has a way to the internet, and ends in a blackhole; one per uplink leads
/// to that alone. An uplink that a person has failed has no part in either, one that is forced comes first.
pub(super) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    let mut uplinks: Vec<&Uplink<'_>> =
        site.uplinks.iter().filter(|uplink| !site.will.failed.contains(&uplink.spec.slot)).collect();
    // Stable: the others stay in the order of their costs.
    uplinks.sort_by_key(|uplink| site.will.forced != Some(uplink.spec.slot));
    for family in Family::BOTH {
        for (uplink, metric) in uplinks.iter().zip(PREFERRED..) {
            plan.routes.push(by(common, site, uplink, DIRECT_TABLE, metric, family));
            plan.routes.push(by(common, site, uplink, path_table(uplink.spec.slot, PINNED), PREFERRED, family));
        }
        plan.routes.push(plumbing::direct_end(family));
    }
    neighbourhood(site, plan);
    for network in site.segments().filter(|vlan| vlan.goes_direct()).flat_map(Vlan::networks) {
        plan.routes.extend(site.slots().map(|slot| plumbing::answers(slot, network)));
    }
}

/// By `uplink`, while it has a way of this family. The veth may be larger than the uplink, for shimmed packets.
fn by(common: &Common<'_>, site: &Site<'_>, uplink: &Uplink<'_>, table: u32, metric: u32, family: Family) -> RouteSpec {
    let own = u32::from(uplink.spec.mtu);
    let mtu = (own < mtu::veth(common, site, uplink)).then_some(own);
    RouteSpec { mtu, ..plumbing::direct(uplink.spec.slot, table, metric, family) }
}

/// Best-effort segments are led past the main table: where they find themselves, the segments they reach, and those
/// that they answer.
fn neighbourhood(site: &Site<'_>, plan: &mut PlanObjects) {
    let best_effort = |vlan: &Vlan<'_>| vlan.spec.treatment == SegmentTreatment::BestEffort;
    let talks = |one: &Vlan<'_>, other: &Vlan<'_>| one.reaches.contains(other.name) || other.reaches.contains(one.name);
    let met = site
        .segments()
        .filter(|other| best_effort(other) || site.segments().any(|one| best_effort(one) && talks(one, other)));
    let routes: BTreeSet<(IpNet, String)> =
        met.flat_map(|vlan| vlan.networks().map(|network| (network, vlan.link()))).collect();
    let routes = routes
        .into_iter()
        .map(|(network, link)| RouteSpec::unicast(VIP_NETNS, DIRECT_TABLE, network, PREFERRED, &link, None));
    plan.routes.extend(routes);
}
