//! What goes along when something is deleted, so that one turn puts all of it back.

use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects, RouteKind, WireguardDeviceSpec};

use crate::nft_table;

/// The kernel takes what stands on a link away with it, and the other end of a pair.
pub(crate) fn lose_link(found: &mut PlanObjects, link: &LinkSpec) {
    lose_what_stands_on(found, &link.netns, &link.name);
    found.links.retain(|other| (&other.netns, &other.name) != (&link.netns, &link.name));
    if let LinkKind::Veth { peer_netns, peer } = &link.kind {
        lose_what_stands_on(found, peer_netns, peer);
        found.links.retain(|other| (&other.netns, &other.name) != (peer_netns, peer));
    }
}

fn lose_what_stands_on(found: &mut PlanObjects, netns: &str, link: &str) {
    found.addresses.retain(|one| (&*one.netns, &*one.link) != (netns, link));
    found.neighbours.retain(|one| (&*one.netns, &*one.link) != (netns, link));
    found.programs.retain(|one| (&*one.netns, &*one.link) != (netns, link));
    found
        .routes
        .retain(|one| one.netns != netns || !matches!(&one.kind, RouteKind::Unicast { link: by, .. } if by == link));
}

/// Peers live in their device.
pub(crate) fn lose_device(found: &mut PlanObjects, device: &WireguardDeviceSpec) {
    found.wireguard_peers.retain(|peer| peer.link != device.link);
    found.wireguard_devices.retain(|other| other.link != device.link);
}

/// Programs hold the maps they were loaded with, and remotes and prefixes are entries of those.
pub(crate) fn lose_datapath(found: &mut PlanObjects) {
    found.programs.clear();
    found.remotes.clear();
    found.prefixes.clear();
    found.datapath.clear();
}

/// An nft table bound to a link of which there will be a new one has to be loaded again.
pub(crate) fn lose_tables_bound_to_new_links(found: &mut PlanObjects, desired: &PlanObjects) {
    let PlanObjects { links, nft_tables, .. } = found;
    nft_tables.retain(|table| {
        let is_new = |link: &&LinkSpec| !links.iter().any(|old| (&old.netns, &old.name) == (&link.netns, &link.name));
        !desired
            .links
            .iter()
            .filter(|link| link.netns == table.netns && nft_table::binds(table, &link.name))
            .any(|link| is_new(&link))
    });
}
