//! MTUs: what the shim lets in fits every way it may take, or big packets vanish without a word.

use pathsteer_crds::ownership::{HOST, SHIM_LINK, SHIM_PEER, TABLES};
use pathsteer_crds::plan::{Behind, LinkKind, LinkSpec, Role};

use super::{MAIN, View, out_link};
use crate::mtu::LEAST_IPV6;

/// Bytes the shim adds.
const SHIM_BYTES: u32 = 32;

pub(super) fn check(view: &mut View<'_>) {
    let netns = view.clear_netns();
    let Some(inner) = view.link(netns, SHIM_LINK).and_then(|link| link.mtu) else {
        return view.finding("TooBig", format!("link {netns}/{SHIM_LINK}"), "has no MTU");
    };
    if let Some(peer) = view.link(netns, SHIM_PEER) {
        carries(view, peer, inner, "");
    }
    match view.role {
        Role::Edge => edge(view, inner),
        Role::Anchor => anchor(view, inner),
    }
    ipv6(view);
}

/// Where IPv6 has no room the kernel has none, and refuses what is declared of it.
fn ipv6(view: &mut View<'_>) {
    let plan = view.plan;
    let addresses = plan.addresses.iter().map(|own| (&own.netns, &own.link, own.address.addr()));
    let neighbours = plan.neighbours.iter().map(|other| (&other.netns, &other.link, other.address));
    for (netns, link, address) in addresses.chain(neighbours).filter(|(_, _, address)| address.is_ipv6()) {
        if view.link(netns, link).and_then(|link| link.mtu).is_some_and(|mtu| mtu < LEAST_IPV6) {
            let message = format!("its MTU is under {LEAST_IPV6}: there is no IPv6, so no {address}");
            view.finding("NoIpv6", format!("link {netns}/{link}"), message);
        }
    }
}

/// An edge may send, or copy, anything by any of its tunnels.
fn edge(view: &mut View<'_>, inner: u32) {
    let carriers = view.plan.links.iter().filter(|link| match &link.kind {
        LinkKind::Tunnel => true,
        // That to the node's own namespace is as large as the WAN behind it.
        LinkKind::Veth { peer_netns, .. } => ![HOST, &link.netns].contains(&peer_netns.as_str()) && link.netns != HOST,
        LinkKind::Loopback | LinkKind::Nic | LinkKind::Vlan { .. } => false,
    });
    for link in carriers {
        carries(view, link, inner + SHIM_BYTES, "");
    }
}

/// An anchor sends to a site what the route to it lets by, on any of the site's slots.
fn anchor(view: &mut View<'_>, inner: u32) {
    let plan = view.plan;
    for prefix in &plan.prefixes {
        let Behind::Remote(id) = prefix.behind else { continue };
        let Some(remote) = plan.remotes.iter().find(|remote| remote.id == id) else { continue };
        let route = plan.routes.iter().find(|route| route.table == MAIN && route.destination == prefix.prefix);
        let let_by = route.and_then(|route| route.mtu).map_or(inner, |mtu| mtu.min(inner));
        let endpoint = ipnet::IpNet::from(std::net::IpAddr::V4(remote.address));
        let ways = plan.routes.iter().filter(|way| TABLES.contains(&way.table) && way.destination == endpoint);
        for way in ways {
            if let Some(link) = out_link(way).and_then(|link| view.link(&way.netns, link)) {
                carries(view, link, let_by + SHIM_BYTES, &format!(" to `{}`", remote.node));
            }
        }
    }
}

fn carries(view: &mut View<'_>, link: &LinkSpec, needed: u32, whither: &str) {
    if link.mtu.is_none_or(|mtu| mtu < needed) {
        let message = format!("its MTU is under {needed}: what {SHIM_LINK} lets in{whither} would not fit");
        view.finding("TooBig", format!("link {}/{}", link.netns, link.name), message);
    }
}
