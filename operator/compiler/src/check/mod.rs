//! Check: reads a finished plan as the kernel would and says what it would do wrong.
//!
//! Knows the plan's format and the numbers fixed in [`pathsteer_crds`], and nothing of how plans are made: a mistake
//! in the compiler is not made here a second time.

mod class_map;
mod direct;
mod forward;
mod in_place;
mod leak;
mod mtu;
mod names;
mod netns;
mod path;
mod segment;
mod shim;
mod tunnel;

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::ownership::{ANCHOR_NETNS, DIRECT_TABLE, HOST, HOST_VETH, VIP_NETNS, path_table};
use pathsteer_crds::plan::{
    Family, LinkKind, LinkSpec, NftRule, PlanObjects, Program, Role, RouteKind, RouteSpec, RuleSpec,
};

/// The kernel's main routing table.
const MAIN: u32 = 254;

/// One thing a plan would do wrong; a plan with any must not reach its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckFinding {
    pub node: String,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// Noun and name, such as `route psvip 7717 0.0.0.0/0 metric 10`.
    pub object: String,
    /// What would go wrong.
    pub message: String,
}

impl std::fmt::Display for CheckFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CheckFinding { node, reason, object, message } = self;
        write!(f, "{node}: {object}: {message} ({reason})")
    }
}

/// Everything wrong with the plan of `node`, whose fabric has this `overlay`; sorted, empty when it may be published.
pub fn check(node: &str, plan: &PlanObjects, role: Role, overlay: Ipv4Net) -> Vec<CheckFinding> {
    let mut view = View { node, plan, role, overlay, findings: Vec::new() };
    names::check(&mut view);
    netns::check(&mut view);
    leak::check(&mut view);
    path::check(&mut view);
    tunnel::check(&mut view);
    mtu::check(&mut view);
    shim::check(&mut view);
    segment::check(&mut view);
    class_map::check(&mut view);
    direct::check(&mut view);
    forward::check(&mut view);
    in_place::check(&mut view);
    view.findings.sort();
    view.findings.dedup();
    view.findings
}

/// A plan under examination.
struct View<'a> {
    node: &'a str,
    plan: &'a PlanObjects,
    role: Role,
    overlay: Ipv4Net,
    findings: Vec<CheckFinding>,
}

impl<'a> View<'a> {
    fn finding(&mut self, reason: &'static str, object: String, message: impl Into<String>) {
        self.findings.push(CheckFinding { node: self.node.to_owned(), reason, object, message: message.into() });
    }

    /// The namespace in which survivable packets are still in clear.
    fn clear_netns(&self) -> &'static str {
        match self.role {
            Role::Edge => VIP_NETNS,
            Role::Anchor => ANCHOR_NETNS,
        }
    }

    fn link(&self, netns: &str, name: &str) -> Option<&'a LinkSpec> {
        self.plan.links.iter().find(|link| link.netns == netns && link.name == name)
    }

    /// What the nft table of `netns` holds.
    fn nft(&self, netns: &str) -> impl Iterator<Item = &'a NftRule> + use<'a> {
        let tables = self.plan.nft_tables.iter().filter(move |table| table.netns == netns);
        tables.flat_map(|table| &table.rules).collect::<Vec<_>>().into_iter()
    }

    fn is_nic(&self, netns: &str, name: &str) -> bool {
        self.link(netns, name).is_some_and(is_card)
    }

    /// Interfaces of the clear namespace by which shimmed packets of a slot come and go, by slot.
    fn slot_links(&self) -> BTreeMap<u8, &'a str> {
        let decap = self.plan.programs.iter().filter(|one| one.program != Program::Encap);
        decap.filter(|one| one.netns == self.clear_netns()).map(|one| (one.slot, one.link.as_str())).collect()
    }

    /// Whether an edge's flows straight to the internet, and nothing else, find their way in `table`.
    fn is_direct(role: Role, table: u32) -> bool {
        let of_slot = (1..=8).any(|slot| table == path_table(slot, 0));
        role == Role::Edge && (table == DIRECT_TABLE || of_slot)
    }

    fn in_overlay(&self, network: &IpNet) -> bool {
        IpNet::V4(self.overlay).contains(network)
    }
}

/// A network card, or what stands for one that stays in the node's own namespace.
fn is_card(link: &LinkSpec) -> bool {
    match &link.kind {
        LinkKind::Nic => true,
        LinkKind::Veth { peer_netns, .. } => peer_netns == HOST && link.name != HOST_VETH.1,
        LinkKind::Loopback | LinkKind::Tunnel | LinkKind::Vlan { .. } => false,
    }
}

fn route_name(route: &RouteSpec) -> String {
    let RouteSpec { netns, table, destination, metric, .. } = route;
    format!("route {netns} {table} {destination} metric {metric}")
}

/// A rule by what the kernel tells it apart by.
fn rule_name(rule: &RuleSpec) -> String {
    let RuleSpec { netns, family, priority, fwmark, iif, action: _ } = rule;
    let mark = fwmark.map(|(value, mask)| format!(" fwmark {value:#x}/{mask:#x}")).unwrap_or_default();
    let iif = iif.as_ref().map(|link| format!(" iif {link}")).unwrap_or_default();
    format!("{netns} {family:?} {priority}{mark}{iif}")
}

/// The interface a route sends packets to; none for a blackhole.
fn out_link(route: &RouteSpec) -> Option<&str> {
    match &route.kind {
        RouteKind::Unicast { link, .. } => Some(link),
        RouteKind::Blackhole => None,
    }
}

fn family(network: &IpNet) -> Family {
    match network {
        IpNet::V4(_) => Family::Ipv4,
        IpNet::V6(_) => Family::Ipv6,
    }
}
