//! What is applied: as many links, addresses, routes and rules as wanted, as a plan and as the kernel's numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::ownership::{RULE_PRIORITIES, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::{
    AddressSpec, Family, LinkKind, LinkSpec, NODE_SCOPE, NetnsSpec, PLAN_VERSION, PlanObjects, PlanRoot, Role,
    RouteKind, RouteSpec, RuleAction, RuleSpec, split,
};
use pathsteer_crds::{canonical, session::SessionEvent};

/// The node in every plan of this section.
pub const NODE: &str = "bench";
/// Rules of one priority differ in their marks.
const MASK: u32 = 0x00ff_ffff;

/// One link (a veth, its other end in another namespace) with an address, a route by it and a rule that leads to the route.
#[derive(Debug, Clone, Copy)]
pub struct Quad {
    number: u32,
}

/// Nouns in a [`Quad`].
pub const NOUNS: usize = 4;

impl Quad {
    /// The first `count` of them.
    pub fn first(count: usize) -> impl Iterator<Item = Quad> + Clone {
        (0..count as u32).map(|number| Quad { number })
    }

    /// The end with the address.
    pub fn link(self) -> String {
        format!("psx{}", self.number)
    }

    /// The end in the other namespace.
    pub fn peer(self) -> String {
        format!("psy{}", self.number)
    }

    /// Indexes that nobody else in either namespace has.
    pub fn index(self) -> i32 {
        1_000 + self.number as i32
    }

    pub fn address(self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::from(0x0a00_0001 + 4 * self.number), 30)
    }

    pub fn destination(self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::from(0x0b00_0000 + 256 * self.number), 24)
    }

    /// Tables and priorities are fewer than quads may be.
    pub fn table(self) -> u32 {
        RULE_PRIORITIES.start() + self.number % 256
    }

    /// Mark and mask of the rule.
    pub fn mark(self) -> (u32, u32) {
        (self.number + 1, MASK)
    }
}

/// The namespaces and `count` of every noun.
pub fn objects(count: usize) -> PlanObjects {
    let (here, there) = (VIP_NETNS.to_owned(), uplink_netns(1));
    let netns = [&here, &there].map(|name| NetnsSpec { name: name.clone() });
    let mut objects = PlanObjects { netns: netns.into(), ..PlanObjects::default() };
    let end = |netns: &str, name: String, peer_netns: &str, peer: String| {
        LinkSpec::new(netns, &name, LinkKind::Veth { peer_netns: peer_netns.to_owned(), peer })
    };
    for quad in Quad::first(count) {
        objects.links.push(end(&here, quad.link(), &there, quad.peer()));
        objects.links.push(end(&there, quad.peer(), &here, quad.link()));
        objects.addresses.push(AddressSpec {
            netns: here.clone(),
            link: quad.link(),
            address: IpNet::V4(quad.address()),
        });
        objects.routes.push(route(quad, None));
        objects.rules.push(RuleSpec {
            netns: here.clone(),
            family: Family::Ipv4,
            priority: quad.table(),
            fwmark: Some(quad.mark()),
            iif: None,
            action: RuleAction::Table(quad.table()),
        });
    }
    objects.sort();
    objects
}

/// The route of `quad`, of which the path MTU is all that may change.
pub fn route(quad: Quad, mtu: Option<u32>) -> RouteSpec {
    let source = Some(IpAddr::V4(quad.address().addr()));
    let kind = RouteKind::Unicast { link: quad.link(), gateway: None, source };
    RouteSpec { mtu, ..RouteSpec::new(VIP_NETNS, quad.table(), IpNet::V4(quad.destination()), 10, kind) }
}

/// `objects` as an operator sends them, and the root's generation.
///
/// # Errors
/// When they cannot be written as JSON.
pub fn events(objects: &PlanObjects, generation: i64) -> Result<Vec<SessionEvent>> {
    let mut named = BTreeMap::new();
    let mut events = Vec::new();
    for (name, json) in split(&BTreeMap::from([(NODE_SCOPE.to_owned(), objects.clone())])) {
        let sha256 = canonical::sha256(json.as_bytes());
        named.insert(name, sha256.clone());
        events.push(SessionEvent::Fragment { sha256, json });
    }
    let (version, node) = (PLAN_VERSION, NODE.to_owned());
    let root = PlanRoot { version, node, role: Role::Edge, store_epoch: 1, generation, fragments: named };
    events.push(SessionEvent::Root { revision: generation, root });
    Ok(events)
}
