//! The table of an anchor.

use pathsteer_crds::Egress;
use pathsteer_crds::ownership::{SHIM_LINK, SHIM_PEER, anchor_tunnel};
use pathsteer_crds::plan::{CopyTarget, FlowTo, NftRule, PolicySet, RemoteSide, Welcome};

use super::class_map::ClassMaps;
use super::{aggregate, drop_overlay, element};
use crate::allocate::{DEFAULT_CLASS_ID, DEFAULT_SERVICE_CLASS};
use crate::anchor::Anchor;
use crate::resolve::Resolved;
use crate::vlan::{Vlan, is_service};

pub(super) fn rules(resolved: &Resolved<'_>, anchor: &Anchor<'_>) -> Vec<NftRule> {
    let internet = anchor.spec.internet.interface.as_str();
    let mut rules = maps(resolved, anchor);
    rules.push(NftRule::DefaultClass { class: DEFAULT_CLASS_ID });
    for slot in resolved.slots_of(anchor) {
        let tunnel = anchor_tunnel(slot);
        // A site's budget is for what leaves by its uplink, and kept there.
        rules.push(NftRule::Copy { slot, link: tunnel.clone(), to: CopyTarget::Destination, budget: None });
        rules.push(NftRule::forward(&tunnel, SHIM_LINK, None));
        rules.push(NftRule::forward(&tunnel, internet, None));
        rules.push(NftRule::forward(SHIM_PEER, &tunnel, None));
        rules.push(NftRule::Protect { link: tunnel, welcome: vec![Welcome::Diagnostics] });
    }
    rules.push(NftRule::forward(internet, SHIM_LINK, None));
    rules.push(NftRule::Protect { link: internet.to_owned(), welcome: vec![Welcome::Diagnostics] });
    rules.push(NftRule::ClampMss { link: SHIM_LINK.to_owned() });
    rules.push(drop_overlay(resolved, internet));

    // Whoever prefers this anchor sends by it alone. What prefers another may come from there.
    let at_home = resolved.sites_of(anchor).filter(|site| site.spec.anchors[0] == anchor.name);
    let sources = aggregate(at_home.flat_map(|site| site.spec.all_prefixes()));
    if !sources.is_empty() {
        rules.push(NftRule::DropSources { link: internet.to_owned(), sources });
    }
    let sources = aggregate(resolved.sites_of(anchor).flat_map(|site| site.spec.all_prefixes()));
    if anchor.spec.egress != Egress::Routed && !sources.is_empty() {
        rules.push(NftRule::Snat { link: internet.to_owned(), sources, pool: aggregate(anchor.pool()) });
    }
    rules
}

/// What goes to a site: as the policies that hold for it say, else by the segment it goes to.
fn maps(resolved: &Resolved<'_>, anchor: &Anchor<'_>) -> Vec<NftRule> {
    let mut maps = ClassMaps::default();
    for policy in resolved.policies.iter().filter(|policy| !policy.is_direct()) {
        // A policy for selected sites holds for what goes to their prefixes; one for all sites needs no such test.
        let local = (!policy.spec.sites.is_empty()).then(|| {
            let sites = resolved.sites_of(anchor).filter(|site| policy.holds_for(site.name));
            aggregate(sites.flat_map(|site| site.spec.all_prefixes()))
        });
        for element in element::of_policy(policy, local.as_deref()) {
            maps.add(element);
        }
    }
    let service = resolved.classes.iter().find(|(_, key)| *key == DEFAULT_SERVICE_CLASS).map(|(class, _)| *class);
    if let Some(service) = service {
        let segments = resolved.sites_of(anchor).flat_map(|site| &site.vlans);
        let networks = segments.filter(|vlan| is_service(vlan.spec.treatment)).flat_map(Vlan::networks);
        for network in aggregate(networks) {
            maps.add(element::of_local(network, FlowTo::Class(service)));
        }
    }
    maps.into_rules(PolicySet::Tunnel, RemoteSide::Source)
}
