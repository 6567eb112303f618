//! Names and numbers: ours are recognisable, fit the kernel, are given once, and mean something that exists.

use std::collections::BTreeSet;
use std::fmt::Display;

use pathsteer_crds::mark;
use pathsteer_crds::ownership::{HOST, PREFIX, RULE_PRIORITIES, TABLES, is_card_link};
use pathsteer_crds::plan::{LinkKind, NftRule, RouteKind, RuleAction};

use super::{MAIN, View, out_link, route_name, rule_name};

/// IFNAMSIZ is 16 with the final zero.
const LONGEST_NAME: usize = 15;

pub(super) fn check(view: &mut View<'_>) {
    namespaces(view);
    links(view);
    numbers(view);
    given_once(view);
    references(view);
}

fn namespaces(view: &mut View<'_>) {
    for netns in &view.plan.netns {
        if !netns.name.starts_with(PREFIX) {
            view.finding("NotOurs", format!("netns {}", netns.name), "does not carry our prefix: never swept");
        }
    }
}

fn links(view: &mut View<'_>) {
    for link in &view.plan.links {
        let object = format!("link {}/{}", link.netns, link.name);
        if link.name.is_empty() || link.name.len() > LONGEST_NAME {
            view.finding("NameTooLong", object.clone(), "the kernel takes 1 to 15 characters");
        }
        let carries_prefix = link.name.starts_with(PREFIX);
        let made_by_us = matches!(link.kind, LinkKind::Tunnel | LinkKind::Vlan { .. } | LinkKind::Veth { .. });
        if made_by_us && !carries_prefix {
            view.finding("NotOurs", object.clone(), "does not carry our prefix: never swept");
        }
        if link.kind == LinkKind::Nic && carries_prefix && !(is_card_link(&link.name) && link.card.is_some()) {
            view.finding("NotTheirs", object.clone(), "a network card that carries our prefix would be swept");
        }
        if let LinkKind::Veth { peer_netns, peer } = &link.kind {
            let back = LinkKind::Veth { peer_netns: link.netns.clone(), peer: link.name.clone() };
            if view.link(peer_netns, peer).is_none_or(|other| other.kind != back) {
                view.finding("PairBroken", object, format!("the other end {peer_netns}/{peer} does not lead back"));
            }
        }
    }
}

fn numbers(view: &mut View<'_>) {
    for rule in &view.plan.rules {
        let object = format!("rule {}", rule_name(rule));
        if !RULE_PRIORITIES.contains(&rule.priority) {
            view.finding("NumberNotOurs", object.clone(), "its priority lies outside our range: never swept");
        }
        if let RuleAction::Table(table) = rule.action
            && !TABLES.contains(&table)
        {
            view.finding("NumberNotOurs", object.clone(), format!("table {table} lies outside our range"));
        }
        if let Some((value, mask)) = rule.fwmark
            && (mask & !mark::MASK != 0 || value & !mask != 0)
        {
            view.finding("NumberNotOurs", object, "matches mark bits that are not ours, or none at all");
        }
    }
    for route in view.plan.routes.iter().filter(|route| route.table != MAIN && !TABLES.contains(&route.table)) {
        view.finding("NumberNotOurs", route_name(route), "its table lies outside our range");
    }
}

/// What the kernel identifies an object by must be unique, or applying one undoes the other.
fn given_once(view: &mut View<'_>) {
    let plan = view.plan;
    once(view, "netns", plan.netns.iter().map(|one| &one.name));
    once(view, "sysctl", plan.sysctls.iter().map(|one| format!("{} {}", one.netns, one.key)));
    once(view, "link", plan.links.iter().map(|one| format!("{}/{}", one.netns, one.name)));
    let cards = plan.links.iter().filter(|one| one.kind == LinkKind::Nic);
    once(view, "network card", cards.map(|one| &one.name));
    once(view, "neighbour", plan.neighbours.iter().map(|one| format!("{}/{} {}", one.netns, one.link, one.address)));
    once(view, "route", plan.routes.iter().map(route_name));
    once(view, "rule", plan.rules.iter().map(rule_name));
    once(view, "nft table", plan.nft_tables.iter().map(|one| &one.netns));
    once(view, "wireguard device", plan.wireguard_devices.iter().map(|one| &one.link));
    once(view, "wireguard peer", plan.wireguard_peers.iter().map(|one| format!("{} {}", one.link, one.public_key)));
    once(view, "program", plan.programs.iter().map(|one| format!("{}/{}", one.netns, one.link)));
    once(view, "remote", plan.remotes.iter().map(|one| one.id));
    once(view, "remote address", plan.remotes.iter().map(|one| one.address));
    once(view, "prefix", plan.prefixes.iter().map(|one| one.prefix));
}

fn once<K: Display>(view: &mut View<'_>, noun: &str, keys: impl Iterator<Item = K>) {
    let mut seen = BTreeSet::new();
    for key in keys.map(|key| key.to_string()) {
        if let Some(twice) = seen.replace(key) {
            view.finding("GivenTwice", format!("{noun} {twice}"), "stands in the plan twice with different content");
        }
    }
}

/// Every namespace and interface an object names is one of the plan's.
fn references(view: &mut View<'_>) {
    let plan = view.plan;
    let mut links: Vec<(String, &str, &str)> = Vec::new();
    let mut netns: Vec<(String, &str)> = Vec::new();
    netns.extend(plan.links.iter().map(|one| (format!("link {}/{}", one.netns, one.name), one.netns.as_str())));
    netns.extend(plan.sysctls.iter().map(|one| (format!("sysctl {}", one.key), one.netns.as_str())));
    netns.extend(plan.rules.iter().map(|one| (format!("rule {}", one.priority), one.netns.as_str())));
    netns.extend(plan.nft_tables.iter().map(|one| ("nft table".to_owned(), one.netns.as_str())));
    netns.extend(plan.paths.iter().map(|one| (format!("path {}", one.name), one.netns.as_str())));
    for one in plan.routes.iter() {
        netns.push((route_name(one), &one.netns));
        links.extend(out_link(one).map(|link| (route_name(one), one.netns.as_str(), link)));
    }
    links.extend(plan.addresses.iter().map(|one| (format!("address {}", one.address), &*one.netns, &*one.link)));
    links.extend(plan.dhcp.iter().map(|one| (format!("dhcp {}", one.slot), &*one.netns, &*one.link)));
    links.extend(plan.neighbours.iter().map(|one| (format!("neighbour {}", one.address), &*one.netns, &*one.link)));
    links.extend(plan.programs.iter().map(|one| (format!("program {:?}", one.program), &*one.netns, &*one.link)));
    links.extend(
        plan.rules.iter().filter_map(|one| {
            one.iif.as_deref().map(|link| (format!("rule {}", one.priority), one.netns.as_str(), link))
        }),
    );
    for device in &plan.wireguard_devices {
        let object = format!("wireguard device {}", device.link);
        links.push((object.clone(), &device.netns, &device.link));
        if !device.underlay_netns.is_empty() {
            netns.push((object, &device.underlay_netns));
        }
    }
    for table in &plan.nft_tables {
        let object = || format!("nft table {}", table.netns);
        let named = table.rules.iter().flat_map(named_links);
        links.extend(named.map(|link| (object(), table.netns.as_str(), link)));
    }
    for (object, netns) in netns {
        if netns != HOST && !plan.netns.iter().any(|one| one.name == netns) {
            view.finding("NothingThere", object, format!("there is no namespace `{netns}` in the plan"));
        }
    }
    for (object, netns, link) in links {
        // The node's own namespace has links of its own.
        if view.link(netns, link).is_none() && (netns != HOST || link.starts_with(PREFIX)) {
            view.finding("NothingThere", object, format!("there is no link {netns}/{link} in the plan"));
        }
    }
    for route in &plan.routes {
        if let RouteKind::Unicast { source: Some(source), .. } = &route.kind
            && !plan.addresses.iter().any(|own| own.netns == route.netns && own.address.addr() == *source)
        {
            view.finding("NothingThere", route_name(route), format!("no link of the namespace has {source}"));
        }
    }
}

/// The links a rule names.
fn named_links(rule: &NftRule) -> Vec<&str> {
    match rule {
        NftRule::Segment { link, .. }
        | NftRule::Direct { link, .. }
        | NftRule::Copy { link, .. }
        | NftRule::DropOverlay { link, .. }
        | NftRule::DropSources { link, .. }
        | NftRule::ClampMss { link }
        | NftRule::Protect { link, .. }
        | NftRule::Snat { link, .. } => vec![link],
        NftRule::Forward { from, to: link, .. } | NftRule::Masquerade { from, link } => vec![from, link],
        NftRule::Redirect { links, .. } => links.iter().map(String::as_str).collect(),
        NftRule::ClassMap(_) | NftRule::DefaultClass { .. } | NftRule::Inside { .. } => Vec::new(),
    }
}
