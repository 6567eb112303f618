//! nft tables: which flow goes where, what is copied, forwarded and translated, what must not face a WAN.

mod anchor;
mod class_map;
mod cover;
mod edge;
mod element;
mod maps;
mod uplink;

pub(crate) use maps::PolicyMaps;

use ipnet::IpNet;
use pathsteer_crds::ownership::{ANCHOR_NETNS, HOST, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::{NftRule, NftTableSpec, PlanObjects};

use crate::anchor::Anchor;
use crate::resolve::{Common, Flows, Resolved};
use crate::site::Site;
use crate::traffic_policy::Policy;

pub(crate) fn edge(
    common: &Common<'_>,
    flows: &Flows<'_>,
    maps: &mut PolicyMaps,
    site: &Site<'_>,
    plan: &mut PlanObjects,
) {
    plan.nft_tables.push(NftTableSpec::new(VIP_NETNS, edge::rules(common, flows, maps, site)));
    plan.nft_tables.extend(
        site.uplinks
            .iter()
            .map(|uplink| NftTableSpec::new(&uplink_netns(uplink.spec.slot), uplink::rules(common, site, uplink))),
    );
    let in_place: Vec<NftRule> = site.uplinks.iter().flat_map(uplink::in_place).collect();
    plan.nft_tables.extend((!in_place.is_empty()).then(|| NftTableSpec::new(HOST, in_place)));
}

pub(crate) fn anchor(resolved: &Resolved<'_>, maps: &mut PolicyMaps, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    plan.nft_tables.push(NftTableSpec::new(ANCHOR_NETNS, anchor::rules(resolved, maps, anchor)));
}

/// Whether some packet fits both policies.
pub(crate) fn overlap(one: &Policy<'_>, other: &Policy<'_>) -> bool {
    let others = element::of_policy(other, None);
    element::of_policy(one, None).iter().any(|one| others.iter().any(|other| one.overlaps(other)))
}

/// Whether every packet that fits `policy` fits one of `earlier`.
pub(crate) fn leave_nothing(earlier: &[&Policy<'_>], policy: &Policy<'_>) -> bool {
    let earlier: Vec<_> = earlier.iter().flat_map(|one| element::of_policy(one, None)).collect();
    element::of_policy(policy, None).iter().all(|one| cover::covers(earlier.iter(), one))
}

fn drop_overlay(common: &Common<'_>, link: &str) -> NftRule {
    NftRule::DropOverlay { link: link.to_owned(), overlay: common.fabric.overlay }
}

/// The same addresses in as few networks as there can be, sorted: elements of an nft set must not overlap.
pub(crate) fn aggregate(networks: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    IpNet::aggregate(&networks.into_iter().map(|network| network.trunc()).collect())
}
