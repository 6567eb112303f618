//! The table of an uplink's namespace.

use pathsteer_crds::Attach;
use pathsteer_crds::ownership::{edge_tunnel, in_place_veth, uplink_veth};
use pathsteer_crds::plan::{NftRule, Only, Welcome};

use super::drop_overlay;
use crate::resolve::Common;
use crate::site::Site;
use crate::uplink::Uplink;

/// Between the veth and the tunnels everything passes; between the veth and the WAN what goes straight to the internet,
/// and what answers it. Nothing else: no neighbour on the WAN is routed through.
pub(super) fn rules(common: &Common<'_>, site: &Site<'_>, uplink: &Uplink<'_>) -> Vec<NftRule> {
    let slot = uplink.spec.slot;
    let (veth, wan) = (uplink_veth(slot).1, uplink.spec.link());
    let wan = wan.as_str();
    let mut rules = vec![drop_overlay(common, wan)];
    for anchor in common.anchors_of(site) {
        let tunnel = edge_tunnel(slot, anchor.index);
        rules.push(NftRule::forward(veth, &tunnel, None));
        rules.push(NftRule::forward(&tunnel, veth, None));
        rules.push(NftRule::Protect { link: tunnel, welcome: vec![Welcome::Diagnostics] });
    }
    rules.push(NftRule::forward(veth, wan, None));
    rules.push(NftRule::forward(wan, veth, Some(Only::Established)));
    rules.push(NftRule::Masquerade { from: veth.to_owned(), link: wan.to_owned() });
    rules.push(NftRule::Protect { link: veth.to_owned(), welcome: Vec::new() });
    rules
}

/// What the node's own namespace needs for an uplink whose card stays there: the card's address on what leaves by it, and
/// nothing of the node itself for whoever comes from the uplink's namespace.
pub(super) fn in_place(uplink: &Uplink<'_>) -> Vec<NftRule> {
    if uplink.spec.attach != Attach::InPlace {
        return Vec::new();
    }
    let (host_end, _) = in_place_veth(uplink.spec.slot);
    vec![
        NftRule::Masquerade { from: host_end.clone(), link: uplink.spec.interface.clone() },
        NftRule::Protect { link: host_end, welcome: Vec::new() },
    ]
}
