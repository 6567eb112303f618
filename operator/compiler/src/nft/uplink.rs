//! The table of an uplink's namespace.

use pathsteer_crds::ownership::{edge_tunnel, uplink_veth};
use pathsteer_crds::plan::{NftRule, Only, Welcome};

use super::{drop_overlay, forward};
use crate::resolve::Resolved;
use crate::site::Site;
use crate::uplink::Uplink;

/// Between the veth and the tunnels everything passes; between the veth and the WAN what goes straight to the internet,
/// and what answers it. Nothing else: no neighbour on the WAN is routed through.
pub(super) fn rules(resolved: &Resolved<'_>, site: &Site<'_>, uplink: &Uplink<'_>) -> Vec<NftRule> {
    let slot = uplink.spec.slot;
    let (veth, wan) = (uplink_veth(slot).1, uplink.spec.link());
    let wan = wan.as_str();
    let mut rules = vec![drop_overlay(resolved, wan)];
    for anchor in resolved.anchors_of(site) {
        let tunnel = edge_tunnel(slot, anchor.index);
        rules.push(forward(veth, &tunnel, None));
        rules.push(forward(&tunnel, veth, None));
        rules.push(NftRule::Protect { link: tunnel, welcome: vec![Welcome::Diagnostics] });
    }
    if site.goes_direct() {
        rules.push(forward(veth, wan, None));
        rules.push(forward(wan, veth, Some(Only::Established)));
        rules.push(NftRule::Masquerade { from: veth.to_owned(), link: wan.to_owned() });
    }
    rules.push(NftRule::Protect { link: veth.to_owned(), welcome: Vec::new() });
    rules
}
