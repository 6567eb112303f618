//! Leaks: survivable traffic leaves a node in a tunnel or not at all.

use std::collections::BTreeSet;

use ipnet::IpNet;
use pathsteer_crds::ownership::{SHIM_LINK, TABLES};
use pathsteer_crds::plan::{Behind, NftRule, Role, RouteKind};

use super::{MAIN, View, family, is_card, out_link, route_name};

pub(super) fn check(view: &mut View<'_>) {
    overlay_ends_in_every_namespace(view);
    no_overlay_by_a_card(view);
    every_wan_drops_the_overlay(view);
    clear_traffic_enters_the_shim(view);
    sockets_are_elsewhere(view);
}

/// A dead tunnel must not let shimmed packets follow a default route.
fn overlay_ends_in_every_namespace(view: &mut View<'_>) {
    let overlay = IpNet::V4(view.overlay);
    for netns in &view.plan.netns {
        let ends = view.plan.routes.iter().any(|route| {
            route.netns == netns.name
                && route.table == MAIN
                && route.destination == overlay
                && route.kind == RouteKind::Blackhole
        });
        if !ends {
            let message = format!("has no blackhole for the overlay {overlay}");
            view.finding("OverlayNotBlackholed", format!("netns {}", netns.name), message);
        }
    }
}

/// Nowhere does a route give overlay packets, or whatever carries a path mark, to a network card.
fn no_overlay_by_a_card(view: &mut View<'_>) {
    for route in &view.plan.routes {
        let Some(link) = out_link(route).filter(|link| view.is_nic(&route.netns, link)) else { continue };
        let of_a_path = TABLES.contains(&route.table) && !View::is_direct(view.role, route.table);
        if of_a_path || view.in_overlay(&route.destination) {
            let message = format!("leads shimmed packets to the network card `{link}` in clear");
            view.finding("LeavesInClear", route_name(route), message);
        }
    }
}

fn every_wan_drops_the_overlay(view: &mut View<'_>) {
    let (role, clear) = (view.role, view.clear_netns());
    let faces_wan = |netns: &str| role == Role::Anchor || netns != clear;
    let cards = view.plan.links.iter().filter(|link| is_card(link) && faces_wan(&link.netns));
    for card in cards {
        let drops = view.plan.nft_tables.iter().filter(|table| table.netns == card.netns).any(|table| {
            let drop = NftRule::DropOverlay { link: card.name.clone(), overlay: view.overlay };
            table.rules.contains(&drop)
        });
        if !drops {
            let object = format!("link {}/{}", card.netns, card.name);
            view.finding("WanNotGuarded", object, "faces a WAN, and no nft rule drops overlay addresses and GRE there");
        }
    }
}

/// At an edge everything not local goes into the shim; at an anchor whatever lies behind a site does.
fn clear_traffic_enters_the_shim(view: &mut View<'_>) {
    let netns = view.clear_netns();
    let main = view.plan.routes.iter().filter(|route| route.netns == netns && route.table == MAIN);
    let into_shim: BTreeSet<IpNet> =
        main.clone().filter(|route| out_link(route) == Some(SHIM_LINK)).map(|route| route.destination).collect();
    match view.role {
        Role::Edge => {
            for route in main.filter(|route| out_link(route).is_some_and(|link| link != SHIM_LINK)) {
                let message = "leads survivable traffic around the shim";
                view.finding("LeavesInClear", route_name(route), message);
            }
            let own = view.plan.prefixes.iter().filter(|prefix| prefix.behind == Behind::Own);
            let needed: BTreeSet<bool> = own.map(|own| own.prefix.addr().is_ipv6()).collect();
            for v6 in needed {
                let everything: IpNet = if v6 { "::/0" } else { "0.0.0.0/0" }.parse().expect("a literal");
                if !into_shim.contains(&everything) {
                    let message =
                        format!("has prefixes of {:?}, but no default route into the shim", family(&everything));
                    view.finding("NotShimmed", format!("netns {netns}"), message);
                }
            }
        }
        Role::Anchor => {
            for prefix in view.plan.prefixes.iter().filter(|prefix| matches!(prefix.behind, Behind::Remote(_))) {
                if !into_shim.contains(&prefix.prefix) {
                    let message = "lies behind a site, but has no route into the shim";
                    view.finding("NotShimmed", format!("prefix {}", prefix.prefix), message);
                }
            }
        }
    }
}

/// Clear packets and the WAN never meet in one namespace.
fn sockets_are_elsewhere(view: &mut View<'_>) {
    for device in &view.plan.wireguard_devices {
        if device.underlay_netns == view.clear_netns() {
            let message = format!("its socket is in `{}`, where packets are in clear", device.underlay_netns);
            view.finding("LeavesInClear", format!("wireguard device {}", device.link), message);
        }
    }
}
