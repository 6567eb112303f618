//! nft tables: which flow goes where, what is copied, forwarded and translated, what must not face a WAN.

mod anchor;
mod class_map;
mod edge;
mod element;
mod uplink;

pub(crate) use edge::SiteMaps;

use ipnet::IpNet;
use pathsteer_crds::ownership::{ANCHOR_NETNS, HOST, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::{NftRule, NftTableSpec, PlanObjects};

use crate::anchor::Anchor;
use crate::resolve::Resolved;
use crate::site::Site;

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, made: &mut SiteMaps, plan: &mut PlanObjects) {
    plan.nft_tables.push(NftTableSpec::new(VIP_NETNS, edge::rules(resolved, site, made)));
    plan.nft_tables.extend(
        site.uplinks
            .iter()
            .map(|uplink| NftTableSpec::new(&uplink_netns(uplink.spec.slot), uplink::rules(resolved, site, uplink))),
    );
    let in_place: Vec<NftRule> = site.uplinks.iter().flat_map(uplink::in_place).collect();
    plan.nft_tables.extend((!in_place.is_empty()).then(|| NftTableSpec::new(HOST, in_place)));
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    plan.nft_tables.push(NftTableSpec::new(ANCHOR_NETNS, anchor::rules(resolved, anchor)));
}

fn drop_overlay(resolved: &Resolved<'_>, link: &str) -> NftRule {
    NftRule::DropOverlay { link: link.to_owned(), overlay: resolved.fabric.overlay }
}

/// The same addresses in as few networks as there can be, sorted: elements of an nft set must not overlap.
fn aggregate(networks: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    IpNet::aggregate(&networks.into_iter().map(|network| network.trunc()).collect())
}
