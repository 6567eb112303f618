//! Tunnels: what WireGuard would refuse, mix up or cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use pathsteer_crds::ownership::HOST;
use pathsteer_crds::plan::{LinkKind, Role};

use super::{View, out_link};

pub(super) fn check(view: &mut View<'_>) {
    devices(view);
    peers(view);
    routed(view);
}

fn devices(view: &mut View<'_>) {
    let mut sockets = BTreeSet::new();
    for device in &view.plan.wireguard_devices {
        let object = format!("wireguard device {}", device.link);
        if !sockets.insert((&device.underlay_netns, device.listen_port)) {
            view.finding("PortTaken", object.clone(), format!("port {} is listened on twice", device.listen_port));
        }
        if view.link(&device.netns, &device.link).is_some_and(|link| link.kind != LinkKind::Tunnel) {
            view.finding("NotATunnel", object, "its link is not a TUN");
        }
    }
    for link in view.plan.links.iter().filter(|link| link.kind == LinkKind::Tunnel) {
        if !view.plan.wireguard_devices.iter().any(|device| (&device.netns, &device.link) == (&link.netns, &link.name))
        {
            let object = format!("link {}/{}", link.netns, link.name);
            view.finding("NotATunnel", object, "a TUN that no WireGuard device attaches to swallows packets");
        }
    }
}

fn peers(view: &mut View<'_>) {
    let mut owners = BTreeMap::new();
    for peer in &view.plan.wireguard_peers {
        let object = format!("wireguard peer {} {}", peer.link, peer.node);
        if !view.plan.wireguard_devices.iter().any(|device| device.link == peer.link) {
            view.finding("NothingThere", object.clone(), "its device is not in the plan");
        }
        if view.role == Role::Edge && peer.endpoint.is_none() {
            view.finding("NoEndpoint", object.clone(), "an edge speaks first and must know where to");
        }
        for allowed in &peer.allowed_ips {
            if !view.in_overlay(&IpNet::V4(*allowed)) {
                view.finding("SourceTooWide", object.clone(), format!("{allowed} lies outside the overlay"));
            }
            if let Some(other) = owners.insert((&peer.link, *allowed), &peer.node) {
                let message =
                    format!("{allowed} is allowed for `{other}` too: WireGuard would take it from one of them");
                view.finding("AllowedTwice", object.clone(), message);
            }
        }
        match view.plan.remotes.iter().find(|remote| remote.node == peer.node) {
            None => view.finding("NothingThere", object, "its node is not a remote of the shim"),
            Some(remote) if !peer.allowed_ips.contains(&remote.address.into()) => {
                let message = format!("WireGuard would refuse shimmed packets from {}", remote.address);
                view.finding("SourceRefused", object, message);
            }
            Some(_) => {}
        }
    }
}

/// Whatever a peer may send from is also routed to it, and what it sends finds the way in: otherwise the overlay's
/// blackhole has it.
fn routed(view: &mut View<'_>) {
    let plan = view.plan;
    let by = |netns: &str, link: &str, to: IpNet| {
        plan.routes.iter().any(|one| one.netns == netns && one.destination == to && out_link(one) == Some(link))
    };
    for device in &plan.wireguard_devices {
        for peer in plan.wireguard_peers.iter().filter(|peer| peer.link == device.link) {
            for allowed in
                peer.allowed_ips.iter().filter(|allowed| !by(&device.netns, &device.link, IpNet::V4(**allowed)))
            {
                let message = format!("no route leads {allowed} to it");
                view.finding("NotRouted", format!("wireguard peer {} {}", peer.link, peer.node), message);
            }
        }
    }
    let (Role::Edge, Some(datapath)) = (view.role, plan.datapath.first()) else { return };
    let own = IpNet::from(IpAddr::V4(datapath.address));
    let clear = view.clear_netns();
    for link in plan.links.iter().filter(|link| ![clear, HOST].contains(&link.netns.as_str())) {
        let to_clear = matches!(&link.kind, LinkKind::Veth { peer_netns, .. } if peer_netns == clear);
        if to_clear && !by(&link.netns, &link.name, own) {
            let message = format!("shimmed packets to {own} do not find the way in by it");
            view.finding("NotRouted", format!("link {}/{}", link.netns, link.name), message);
        }
    }
}
