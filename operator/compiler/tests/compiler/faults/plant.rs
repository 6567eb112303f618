//! What faults are planted with.

use std::net::IpAddr;

use ipnet::IpNet;
use pathsteer_crds::plan::{
    AddressSpec, ClassElement, ClassMap, FlowTo, LinkSpec, NftRule, PlanObjects, PolicySet, RouteKind, RouteSpec,
    RuleSpec,
};

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A further route.
pub fn by(netns: &str, table: u32, destination: &str, link: &str) -> RouteSpec {
    RouteSpec::unicast(netns, table, net(destination), 5, link, None)
}

pub fn address(netns: &str, link: &str, address: &str) -> AddressSpec {
    AddressSpec { netns: netns.to_owned(), link: link.to_owned(), address: net(address) }
}

pub fn is_blackhole(route: &RouteSpec, netns: &str, table: u32) -> bool {
    route.netns == netns && route.table == table && route.kind == RouteKind::Blackhole
}

pub fn blackhole<'a>(plan: &'a mut PlanObjects, netns: &str) -> &'a mut RouteSpec {
    plan.routes.iter_mut().find(|route| is_blackhole(route, netns, 254)).unwrap()
}

pub fn link<'a>(plan: &'a mut PlanObjects, name: &str) -> &'a mut LinkSpec {
    plan.links.iter_mut().find(|link| link.name == name).unwrap()
}

pub fn rule(plan: &mut PlanObjects, priority: u32) -> &mut RuleSpec {
    plan.rules.iter_mut().find(|rule| rule.priority == priority).unwrap()
}

pub fn drop_nft(plan: &mut PlanObjects, netns: &str, fits: fn(&NftRule) -> bool) {
    let table = plan.nft_tables.iter_mut().find(|table| table.netns == netns).unwrap();
    table.rules.retain(|rule| !fits(rule));
}

pub fn forward(plan: &mut PlanObjects, netns: &str, from: &str, to: &str) {
    let table = plan.nft_tables.iter_mut().find(|table| table.netns == netns).unwrap();
    table.rules.push(NftRule::Forward { from: from.to_owned(), to: to.to_owned(), only: None });
}

pub fn block(plan: &mut PlanObjects, netns: &str, from_: &str, to_: &str) {
    let table = plan.nft_tables.iter_mut().find(|table| table.netns == netns).unwrap();
    table.rules.retain(|rule| !matches!(rule, NftRule::Forward { from, to, .. } if from == from_ && to == to_));
}

pub fn unprotect(plan: &mut PlanObjects, netns: &str, link_: &str) {
    let table = plan.nft_tables.iter_mut().find(|table| table.netns == netns).unwrap();
    table.rules.retain(|rule| !matches!(rule, NftRule::Protect { link, .. } if link == link_));
}

/// Sources, barred destinations, policies and default of a segment.
type Parts<'a> = (&'a mut Vec<IpNet>, &'a mut Vec<IpNet>, &'a mut Option<PolicySet>, &'a mut FlowTo);

pub fn segment<'a>(plan: &'a mut PlanObjects, name: &str) -> Parts<'a> {
    let rules = plan.nft_tables.iter_mut().flat_map(|table| &mut table.rules);
    let mut segments = rules.filter_map(|rule| match rule {
        NftRule::Segment { link, sources, barred, policies, default } if link == name => {
            Some((sources, barred, policies, default))
        }
        _ => None,
    });
    segments.next().unwrap()
}

pub fn sources<'a>(plan: &'a mut PlanObjects, link: &str) -> &'a mut Vec<IpNet> {
    segment(plan, link).0
}

pub fn barred<'a>(plan: &'a mut PlanObjects, link: &str) -> &'a mut Vec<IpNet> {
    segment(plan, link).1
}

/// The links from which the node's own services are reached, and where these are.
pub fn redirects(plan: &mut PlanObjects) -> (&mut Vec<String>, &mut Vec<IpAddr>) {
    let mut rules = plan.nft_tables.iter_mut().flat_map(|table| &mut table.rules);
    let found = rules.find_map(|rule| match rule {
        NftRule::Redirect { links, to, .. } => Some((links, to)),
        _ => None,
    });
    found.expect("the node serves its segments")
}

pub fn policies(plan: &mut PlanObjects, link: &str, set: Option<PolicySet>) {
    *segment(plan, link).2 = set;
}

pub fn default_of(plan: &mut PlanObjects, link: &str, to: FlowTo) {
    *segment(plan, link).3 = to;
}

/// The first map of flows that stay in a tunnel.
pub fn first_map(plan: &mut PlanObjects) -> &mut ClassMap {
    let rules = plan.nft_tables.iter_mut().flat_map(|table| &mut table.rules);
    let mut maps = rules.filter_map(|rule| match rule {
        NftRule::ClassMap(map) if map.set == PolicySet::Tunnel => Some(map),
        _ => None,
    });
    maps.next().unwrap()
}

pub fn first_element(plan: &mut PlanObjects) -> &mut ClassElement {
    &mut first_map(plan).elements[0]
}

/// A default route of a table for flows straight to the internet.
pub fn direct(plan: &mut PlanObjects, table: u32) -> &mut RouteSpec {
    plan.routes.iter_mut().find(|route| route.table == table && route.while_default_in.is_some()).unwrap()
}

pub fn copy_links(plan: &mut PlanObjects, to: &str) {
    for rule in plan.nft_tables.iter_mut().flat_map(|table| &mut table.rules) {
        if let NftRule::Copy { link, .. } = rule {
            *link = to.to_owned();
        }
    }
}
