//! The node's own namespace. Of uplinks whose card stays there: what comes from them leaves by that card or not at all. Its
//! own things are left alone.

use pathsteer_crds::ownership::{HOST, HOST_VETH, TABLES};
use pathsteer_crds::plan::{Family, LinkKind, LinkSpec, NftRule, RouteKind, RuleAction};
use pathsteer_crds::plumbing::AFTER_OTHERS;

use super::{MAIN, View, family, out_link, route_name};

pub(super) fn check(view: &mut View<'_>) {
    let plan = view.plan;
    services(view);
    for link in plan.links.iter().filter(|link| link.netns == HOST) {
        match &link.kind {
            LinkKind::Veth { .. } if link.name == HOST_VETH.0 => {}
            LinkKind::Veth { peer_netns, peer } if peer_netns != HOST => uplink(view, link, peer_netns, peer),
            _ => {
                view.finding("NotOurs", format!("link /{}", link.name), "is none of ours, in the node's own namespace")
            }
        }
    }
    for route in plan.routes.iter().filter(|route| route.netns == HOST && !TABLES.contains(&route.table)) {
        if out_link(route) != Some(HOST_VETH.0) || route.metric < AFTER_OTHERS {
            view.finding("NotOurs", route_name(route), "would change how the node itself reaches others");
        }
    }
    for rule in plan.rules.iter().filter(|rule| rule.netns == HOST && rule.iif.is_none()) {
        view.finding("NotOurs", format!("rule {}", rule.priority), "would catch what the node itself sends");
    }
    for rule in view.nft(HOST) {
        let from_us = match rule {
            NftRule::Masquerade { from: link, .. } | NftRule::Protect { link, .. } => view.link(HOST, link).is_some(),
            _ => false,
        };
        if !from_us {
            view.finding("NotOurs", "nft table".to_owned(), format!("{rule:?} would meet what the node itself does"));
        }
    }
}

/// What the node's own namespace serves is served to no guest, and found there.
fn services(view: &mut View<'_>) {
    let plan = view.plan;
    let at_home = |to| plan.addresses.iter().any(|own| own.netns == HOST && own.address.addr() == to);
    for rule in view.nft(view.clear_netns()) {
        let NftRule::Redirect { links, to, .. } = rule else { continue };
        if !to.iter().all(|to| at_home(*to)) {
            view.finding("PathBroken", "redirect".to_owned(), format!("{to:?} are not all the node's own addresses"));
        }
        let is_guest = |rule: &NftRule| matches!(rule, NftRule::Segment { link, barred, .. } if links.contains(link) && !barred.is_empty());
        if view.nft(view.clear_netns()).any(is_guest) {
            view.finding("GuestNotKept", "redirect".to_owned(), "leads guests to the node's own services");
        }
    }
}

fn uplink(view: &mut View<'_>, veth: &LinkSpec, netns: &str, end: &str) {
    let object = format!("link /{}", veth.name);
    let by_it = |rule: &&&pathsteer_crds::plan::RuleSpec| rule.netns == HOST && rule.iif.as_deref() == Some(&veth.name);
    let led = view.plan.rules.iter().collect::<Vec<_>>();
    let tables: Vec<u32> = led
        .iter()
        .filter(|rule| by_it(rule) && rule.family == Family::Ipv4)
        .filter_map(|rule| if let RuleAction::Table(table) = rule.action { Some(table) } else { None })
        .collect();
    let [table] = tables[..] else {
        return view.finding("PathUnclear", object, "no rule, or more than one, leads what comes by it to its card");
    };
    let routes: Vec<_> = view.plan.routes.iter().filter(|route| route.netns == HOST && route.table == table).collect();
    let last = routes.iter().max_by_key(|route| route.metric);
    if last.is_none_or(|route| route.kind != RouteKind::Blackhole || route.destination.prefix_len() > 0) {
        view.finding(
            "PathOpen",
            format!("table {table}"),
            "does not end in a blackhole: it would leave by another card",
        );
    }
    let cards: Vec<&str> = routes.iter().filter_map(|route| out_link(route)).collect();
    let [card] = cards[..] else {
        return view.finding("PathBroken", format!("table {table}"), "leads to no card, or to more than one");
    };
    let asks = |wanted: &str, table: u32, by: &str| {
        view.plan.routes.iter().any(|route| {
            let default = route.destination.prefix_len() == 0 && family(&route.destination) == Family::Ipv4;
            let place = (&*route.netns, route.table, out_link(route)) == (wanted, table, Some(by));
            default && place && route.while_host_default.as_deref() == Some(card)
        })
    };
    if !asks(HOST, table, card) || !asks(netns, MAIN, end) {
        view.finding("DirectUnconditional", object.clone(), "does not ask whether its card has a way to the internet");
    }
    let masquerade = NftRule::Masquerade { from: veth.name.clone(), link: card.to_owned() };
    if !view.nft(HOST).any(|rule| *rule == masquerade) {
        view.finding(
            "NotTranslated",
            object.clone(),
            "what leaves by the card has an address that only this node knows",
        );
    }
    let closed = NftRule::Protect { link: veth.name.clone(), welcome: Vec::new() };
    if !view.nft(HOST).any(|rule| *rule == closed) {
        view.finding("NotProtected", object, "whoever uses the uplink would reach the node itself");
    }
}
