//! nft tables: which traffic is in which class, what is copied, what must not face a WAN.

use ipnet::IpNet;
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_LINK, VIP_NETNS, anchor_tunnel, uplink_netns, uplink_veth};
use pathsteer_crds::plan::{CopyTarget, NftRule, NftTableSpec, PlanObjects, RemoteSide};

use crate::address::veth_peer_address;
use crate::allocate::DEFAULT_CLASS_ID;
use crate::anchor::Anchor;
use crate::resolve::Resolved;
use crate::site::Site;
use crate::traffic_policy::Policy;

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    let mut rules = Vec::new();
    for policy in resolved.policies.ordered.iter().filter(|policy| policy.holds_for(site.name)) {
        classify(policy, RemoteSide::Destination, Vec::new(), &mut rules);
    }
    rules.push(NftRule::DefaultClass { class: DEFAULT_CLASS_ID });
    let mut slots: Vec<u8> = site.slots().collect();
    slots.sort_unstable();
    rules.extend(slots.iter().map(|slot| NftRule::Copy {
        slot: *slot,
        link: uplink_veth(*slot).0,
        to: CopyTarget::Gateway(veth_peer_address(*slot)),
    }));
    rules.push(NftRule::ClampMss { link: SHIM_LINK.to_owned() });
    plan.nft_tables.push(NftTableSpec { netns: VIP_NETNS.to_owned(), rules });

    plan.nft_tables.extend(site.uplinks.iter().map(|uplink| NftTableSpec {
        netns: uplink_netns(uplink.spec.slot),
        rules: vec![drop_overlay(resolved, &uplink.spec.interface)],
    }));
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    let mut rules = Vec::new();
    for policy in &resolved.policies.ordered {
        // A policy for selected sites holds for what goes to their prefixes; one for all sites needs no such test.
        let mut local: Vec<IpNet> = Vec::new();
        if !policy.spec.sites.is_empty() {
            let sites = resolved.sites_of(anchor).filter(|site| policy.holds_for(site.name));
            local.extend(sites.flat_map(|site| site.spec.all_prefixes()));
            local.sort();
            if local.is_empty() {
                continue;
            }
        }
        classify(policy, RemoteSide::Source, local, &mut rules);
    }
    rules.push(NftRule::DefaultClass { class: DEFAULT_CLASS_ID });
    rules.extend(resolved.slots_of(anchor).into_iter().map(|slot| NftRule::Copy {
        slot,
        link: anchor_tunnel(slot),
        to: CopyTarget::Destination,
    }));
    rules.push(NftRule::ClampMss { link: SHIM_LINK.to_owned() });
    rules.push(drop_overlay(resolved, &anchor.spec.internet.interface));
    plan.nft_tables.push(NftTableSpec { netns: ANCHOR_NETNS.to_owned(), rules });
}

fn classify(policy: &Policy<'_>, remote: RemoteSide, local: Vec<IpNet>, rules: &mut Vec<NftRule>) {
    rules.extend(policy.spec.matches.iter().map(|one| NftRule::Classify {
        match_: one.clone(),
        remote,
        local: local.clone(),
        class: policy.class,
    }));
}

fn drop_overlay(resolved: &Resolved<'_>, link: &str) -> NftRule {
    NftRule::DropOverlay { link: link.to_owned(), overlay: resolved.fabric.overlay }
}
