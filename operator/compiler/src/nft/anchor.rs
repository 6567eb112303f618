//! The table of an anchor.

use pathsteer_crds::Egress;
use pathsteer_crds::ownership::{SHIM_LINK, SHIM_PEER, anchor_tunnel};
use pathsteer_crds::plan::{CopyTarget, NftRule, Welcome};

use super::maps::PolicyMaps;
use super::{aggregate, drop_overlay};
use crate::allocate::DEFAULT_CLASS_ID;
use crate::anchor::Anchor;
use crate::resolve::Resolved;

pub(super) fn rules(resolved: &Resolved<'_>, maps: &mut PolicyMaps, anchor: &Anchor<'_>) -> Vec<NftRule> {
    let internet = anchor.spec.internet.interface.as_str();
    let mut rules = maps.at_anchor(resolved, anchor).to_vec();
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
    rules.push(drop_overlay(&resolved.common, internet));

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
