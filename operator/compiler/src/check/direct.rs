//! Flows straight to the internet: led by mark, only by uplinks that have a way, with the uplink's address; and nothing
//! else by that way.

use ipnet::IpNet;
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{DIRECT_RULE_PRIORITY, DIRECT_TABLE, path_rule_priority, path_table};
use pathsteer_crds::plan::{
    Family, FlowTo, LinkKind, NftRule, Only, PolicySet, Role, RouteKind, RouteSpec, RuleAction, RuleSpec,
};

use super::segment::{Segment, segments};
use super::{MAIN, View, family, is_card, out_link, route_name};

pub(super) fn check(view: &mut View<'_>) {
    if view.role == Role::Anchor {
        return;
    }
    every_veth_is_guarded(view);
    let segments = segments(view);
    let plan = view.plan;
    let clear = view.clear_netns();
    let routes = plan.routes.iter().filter(|route| route.netns == clear);
    for route in routes.filter(|route| View::is_direct(Role::Edge, route.table)) {
        route_leads_there(view, &segments, route);
    }
    let going: Vec<&Segment<'_>> = segments.iter().filter(|segment| goes_direct(view, segment)).collect();
    if !going.is_empty() {
        is_led(view);
        ends_in_a_blackhole(view);
        inside_is_known(view, &segments);
        for (slot, veth) in view.slot_links() {
            uplink_translates(view, slot, veth, &going);
        }
    }
}

fn goes_direct(view: &View<'_>, segment: &Segment<'_>) -> bool {
    view.nft(view.clear_netns()).any(|rule| match rule {
        NftRule::Segment { link, policies, default, .. } => {
            link == segment.link && (*default == FlowTo::Direct || *policies == Some(PolicySet::Mixed))
        }
        _ => false,
    })
}

/// Whatever is neither shimmed nor direct is stopped where it would leave in clear.
fn every_veth_is_guarded(view: &mut View<'_>) {
    for (slot, veth) in view.slot_links() {
        let guard = NftRule::Direct { slot, link: veth.to_owned() };
        if !view.nft(view.clear_netns()).any(|rule| *rule == guard) {
            let message = format!("what leaves by it in clear is not stopped, nor pinned to slot {slot}");
            view.finding("LeakNotGuarded", format!("link {veth}"), message);
        }
    }
}

fn route_leads_there(view: &mut View<'_>, segments: &[Segment<'_>], route: &RouteSpec) {
    let Some(link) = out_link(route) else { return };
    if route.destination.prefix_len() > 0 {
        let home = segments.iter().any(|one| one.link == link && one.networks.contains(&route.destination));
        if !home || route.table != DIRECT_TABLE {
            view.finding("PathBroken", route_name(route), format!("`{link}` is not the segment with these addresses"));
        }
        return;
    }
    let Some(slot) = view.slot_links().into_iter().find(|(_, veth)| *veth == link).map(|(slot, _)| slot) else {
        return view.finding("PathBroken", route_name(route), format!("`{link}` leads to no uplink"));
    };
    if route.table != DIRECT_TABLE && route.table != path_table(slot, 0) {
        view.finding("PathBroken", route_name(route), format!("what is pinned to another slot leaves by `{link}`"));
    }
    if route.while_default_in.is_none() || route.while_default_in.as_deref() != behind(view, link) {
        let message = "does not ask whether that uplink has a way to the internet: flows would end there";
        view.finding("DirectUnconditional", route_name(route), message);
    }
}

/// The namespace at the other end of a veth.
fn behind<'a>(view: &View<'a>, veth: &str) -> Option<&'a str> {
    view.link(view.clear_netns(), veth).and_then(|link| match &link.kind {
        LinkKind::Veth { peer_netns, .. } => Some(peer_netns.as_str()),
        _ => None,
    })
}

/// First by the uplink a flow is pinned to, then by the preferred one.
fn is_led(view: &mut View<'_>) {
    let netns = view.clear_netns();
    let pinned = view.slot_links().into_keys().map(|slot| {
        let path = Some((mark::path(slot, 0), mark::PATH_MASK));
        (path_rule_priority(slot, 0), path, path_table(slot, 0))
    });
    let any = (DIRECT_RULE_PRIORITY, Some((mark::DIRECT, mark::TAG_MASK)), DIRECT_TABLE);
    for (priority, fwmark, table) in pinned.chain([any]) {
        for family in [Family::Ipv4, Family::Ipv6] {
            let action = RuleAction::Table(table);
            let led = RuleSpec { netns: netns.to_owned(), family, priority, fwmark, iif: None, action };
            if !view.plan.rules.contains(&led) {
                let message =
                    format!("no {family:?} rule leads direct flows to their table: they would enter the shim");
                view.finding("DirectNotLed", format!("table {table}"), message);
            }
        }
    }
}

/// A direct flow that finds no uplink ends here; it does not go on to the main table, which leads into the shim.
fn ends_in_a_blackhole(view: &mut View<'_>) {
    for wanted in [Family::Ipv4, Family::Ipv6] {
        let defaults = view.plan.routes.iter().filter(|route| {
            let everything = route.destination.prefix_len() == 0 && family(&route.destination) == wanted;
            route.netns == view.clear_netns() && route.table == DIRECT_TABLE && everything
        });
        let last = defaults.max_by_key(|route| route.metric);
        if last.is_none_or(|route| route.kind != RouteKind::Blackhole) {
            let message = format!("does not end in a blackhole: {wanted:?} packets would go on to the main table");
            view.finding("PathOpen", format!("table {DIRECT_TABLE}"), message);
        }
    }
}

fn inside_is_known(view: &mut View<'_>, segments: &[Segment<'_>]) {
    let inside: Vec<&IpNet> = view
        .nft(view.clear_netns())
        .filter_map(|rule| match rule {
            NftRule::Inside { prefixes } => Some(prefixes),
            _ => None,
        })
        .flatten()
        .collect();
    for network in segments.iter().flat_map(|segment| &segment.networks) {
        if !inside.iter().any(|prefix| prefix.contains(network)) {
            let message = "is the site's own, but flows to it would leave for the internet";
            view.finding("InsideNotKnown", format!("network {network}"), message);
        }
    }
}

/// The uplink's namespace lets direct flows out with its address, and their answers back in.
fn uplink_translates(view: &mut View<'_>, slot: u8, veth: &str, going: &[&Segment<'_>]) {
    let Some(LinkKind::Veth { peer_netns: netns, peer }) = view.link(view.clear_netns(), veth).map(|link| &link.kind)
    else {
        return;
    };
    let cards = view.plan.links.iter().filter(|link| link.netns == *netns && is_card(link));
    for card in cards {
        let pair = |from: &str, to: &str, only| NftRule::Forward { from: from.into(), to: to.into(), only };
        let object = format!("link {netns}/{}", card.name);
        let needed = [pair(peer, &card.name, None), pair(&card.name, peer, Some(Only::Established))];
        if !needed.iter().all(|needed| view.nft(netns).any(|rule| rule == needed)) {
            view.finding("NotForwarded", object.clone(), "does not pass on direct flows and what answers them");
        }
        let masquerade = NftRule::Masquerade { from: peer.clone(), link: card.name.clone() };
        if !view.nft(netns).any(|rule| *rule == masquerade) {
            view.finding("NotTranslated", object, "direct flows leave it with addresses that only the site knows");
        }
    }
    for network in going.iter().flat_map(|segment| &segment.networks) {
        let back = view.plan.routes.iter().any(|route| {
            let home = route.netns == *netns && route.table == MAIN && route.destination == *network;
            home && out_link(route) == Some(peer.as_str())
        });
        if !back {
            let message = format!("answers to {network} do not find the way back in");
            view.finding("NotRouted", format!("slot {slot}"), message);
        }
    }
}
