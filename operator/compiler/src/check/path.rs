//! Paths: from a mark to the link of the slot the mark names, with a backup, ending in a blackhole.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{NO_PATH_RULE_PRIORITY, SHIM_PEER, TABLES};
use pathsteer_crds::plan::{CopyTarget, Family, NftRule, Role, RouteKind, RouteSpec, RuleAction, RuleSpec};

use super::{View, out_link, route_name, rule_name};

pub(super) fn check(view: &mut View<'_>) {
    no_path_rule(view);
    let rules: Vec<&RuleSpec> =
        view.plan.rules.iter().filter(|rule| matches!(rule.action, RuleAction::Table(_))).collect();
    for rule in &rules {
        path_rule(view, rule);
    }
    tables_are_reached(view, &rules);
    copies(view);
    steering(view);
}

/// What leaves the shim without a path is stopped, or it loops until its TTL ends.
fn no_path_rule(view: &mut View<'_>) {
    let netns = view.clear_netns();
    for family in [Family::Ipv4, Family::Ipv6] {
        let stop = RuleSpec {
            netns: netns.to_owned(),
            family,
            priority: NO_PATH_RULE_PRIORITY,
            fwmark: None,
            iif: Some(SHIM_PEER.to_owned()),
            action: RuleAction::Blackhole,
        };
        if !view.plan.rules.contains(&stop) {
            let message = format!("nothing stops {family:?} packets that leave the shim without a path");
            view.finding("NoPathNotStopped", format!("rule {netns} {NO_PATH_RULE_PRIORITY}"), message);
        }
    }
}

fn path_rule(view: &mut View<'_>, rule: &RuleSpec) {
    let RuleAction::Table(table) = rule.action else { return };
    if View::is_direct(view.role, table) {
        return;
    }
    let object = format!("rule {}", rule_name(rule));
    let Some((value, mark::PATH_MASK)) = rule.fwmark else {
        return view.finding("PathUnclear", object, "a path is found by slot and anchor index, and by nothing else");
    };
    if rule.netns != view.clear_netns() {
        view.finding("PathUnclear", object.clone(), "paths are chosen where packets are in clear");
    }
    let slot = ((value >> 8) & 0xf) as u8;
    let links = view.slot_links();
    let Some(link) = links.get(&slot).copied() else {
        return view.finding("PathUnclear", object, format!("nothing comes or goes by slot {slot}"));
    };
    let routes: Vec<&RouteSpec> =
        view.plan.routes.iter().filter(|route| route.netns == rule.netns && route.table == table).collect();
    ends_in_a_blackhole(view, &rule.netns, table, &routes);
    let mut ways: BTreeMap<IpNet, Vec<(u32, &str)>> = BTreeMap::new();
    for route in &routes {
        if let Some(link) = out_link(route) {
            ways.entry(route.destination).or_default().push((route.metric, link));
        }
    }
    let everything: IpNet = "0.0.0.0/0".parse().expect("a literal");
    if view.role == Role::Edge && !ways.contains_key(&everything) {
        view.finding("PathBroken", object, format!("table {table} has no default route"));
    }
    for (destination, mut ways) in ways {
        ways.sort_unstable();
        let object = format!("route {} {table} {destination}", rule.netns);
        if ways[0].1 != link {
            let message = format!("packets marked for slot {slot} leave by `{}`, not by `{link}`", ways[0].1);
            view.finding("PathBroken", object.clone(), message);
        }
        let distinct: BTreeSet<&str> = ways.iter().map(|(_, link)| *link).collect();
        if distinct.len() < 2 && has_another_way(view, table, destination, link, &links) {
            let message = "has no backup: an admin-down of its link would lose the packet and its copy";
            view.finding("NoBackup", object, message);
        }
    }
}

/// Whether packets for `destination` could leave by another link than `link`: at an edge by every slot's, at an anchor by
/// those that another path's table uses for it.
fn has_another_way(view: &View<'_>, table: u32, to: IpNet, link: &str, links: &BTreeMap<u8, &str>) -> bool {
    match view.role {
        Role::Edge => links.values().any(|other| *other != link),
        Role::Anchor => view.plan.routes.iter().any(|route| {
            let other_path = TABLES.contains(&route.table) && route.table != table;
            other_path && route.destination == to && out_link(route).is_some_and(|other| other != link)
        }),
    }
}

fn ends_in_a_blackhole(view: &mut View<'_>, netns: &str, table: u32, routes: &[&RouteSpec]) {
    let is_default = |route: &&&RouteSpec| route.destination.prefix_len() == 0;
    let defaults = || routes.iter().filter(is_default);
    let last = defaults().map(|route| route.metric).max();
    let ends = defaults().any(|route| Some(route.metric) == last && route.kind == RouteKind::Blackhole);
    if !ends {
        let object = format!("table {netns} {table}");
        view.finding("PathOpen", object, "does not end in a blackhole: packets would go on to the main table");
    }
}

fn tables_are_reached(view: &mut View<'_>, rules: &[&RuleSpec]) {
    for route in view.plan.routes.iter().filter(|route| TABLES.contains(&route.table)) {
        let reached = |rule: &&RuleSpec| rule.netns == route.netns && rule.action == RuleAction::Table(route.table);
        if !rules.iter().any(reached) {
            view.finding("PathUnclear", route_name(route), "no rule leads to its table");
        }
    }
    for (slot, link) in view.slot_links() {
        let leads =
            rules.iter().any(|rule| rule.fwmark.is_some_and(|(value, _)| (value >> 8) & 0xf == u32::from(slot)));
        if !leads {
            view.finding(
                "PathUnclear",
                format!("link {link}"),
                format!("no rule leads packets marked for slot {slot} to it"),
            );
        }
    }
}

/// Every slot can carry copies, each by its own link.
fn copies(view: &mut View<'_>) {
    let netns = view.clear_netns();
    let tables = view.plan.nft_tables.iter().filter(|table| table.netns == netns);
    let rules: Vec<(u8, &str, &CopyTarget)> = tables
        .flat_map(|table| &table.rules)
        .filter_map(|rule| match rule {
            NftRule::Copy { slot, link, to, budget: _ } => Some((*slot, link.as_str(), to)),
            _ => None,
        })
        .collect();
    for (slot, link) in view.slot_links() {
        let object = format!("copy {netns} slot {slot}");
        let Some((_, by, to)) = rules.iter().find(|(copied, ..)| *copied == slot) else {
            view.finding("CopyBroken", object, "no nft rule copies to this slot");
            continue;
        };
        if *by != link {
            view.finding("CopyBroken", object.clone(), format!("copies leave by `{by}`, not by `{link}`"));
        }
        // A copy to a gateway is sent without asking: only a permanent neighbour makes it arrive.
        if let CopyTarget::Gateway(gateway) = to
            && !view.plan.neighbours.iter().any(|one| one.netns == netns && one.link == *by && one.address == *gateway)
        {
            view.finding("CopyBroken", object, format!("`{by}` has no permanent neighbour {gateway}"));
        }
    }
}

/// What the switching machine may choose exists, and every anchor is told a path of every class: what comes for the site
/// by one that knows none is lost.
fn steering(view: &mut View<'_>) {
    let links = view.slot_links();
    for steering in &view.plan.steering {
        let object = format!("steering {} class {}", steering.remote, steering.class);
        let Some(remote) = view.plan.remotes.iter().find(|remote| remote.id == steering.remote) else {
            view.finding("NothingThere", object, "its remote is not in the plan");
            continue;
        };
        if !remote.classes.contains(&steering.class) {
            view.finding("NothingThere", object.clone(), "its remote has no sequences for this class");
        }
        let named = steering.slots.iter().chain(&steering.forced).chain(&steering.failed);
        for slot in named.filter(|slot| !links.contains_key(slot)) {
            view.finding("NothingThere", object.clone(), format!("there is no slot {slot}"));
        }
    }
    if view.role != Role::Edge {
        return;
    }
    for remote in &view.plan.remotes {
        for class in &remote.classes {
            if !view.plan.steering.iter().any(|one| (one.remote, one.class) == (remote.id, *class)) {
                let object = format!("remote {}", remote.node);
                view.finding("NotSteered", object, format!("is told no path of class {class}"));
            }
        }
    }
}
