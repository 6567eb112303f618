//! Elements of class maps: what policies match, cut into pieces that one lookup can find, and how pieces lie to each
//! other.

use ipnet::IpNet;
use pathsteer_crds::plan::{ClassElement, Family, FlowTo};
use pathsteer_crds::{Match, PortRange, Protocol};

use crate::traffic_policy::Policy;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An element, and the packets of which family it is for; both if none. One that names an address or a DSCP has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub family: Option<Family>,
    pub is: ClassElement,
}

/// Which fields an element names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fields {
    pub prefix: bool,
    pub local: bool,
    pub protocol: bool,
    pub ports: bool,
    pub dscp: bool,
}

impl Element {
    pub fn fields(&self) -> Fields {
        let ClassElement { prefix, local, protocol, ports, dscp, to: _ } = &self.is;
        Fields {
            prefix: prefix.is_some(),
            local: local.is_some(),
            protocol: protocol.is_some(),
            ports: ports.is_some(),
            dscp: dscp.is_some(),
        }
    }

    /// Whether some packet fits both.
    pub fn overlaps(&self, other: &Element) -> bool {
        let networks = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        both(&self.family, &other.family, |a, b| a == b)
            && both(&self.is.prefix, &other.is.prefix, networks)
            && both(&self.is.local, &other.is.local, networks)
            && both(&self.is.protocol, &other.is.protocol, |a, b| a == b)
            && both(&self.is.ports, &other.is.ports, |a, b| a.first <= b.last && b.first <= a.last)
            && both(&self.is.dscp, &other.is.dscp, |a, b| a == b)
    }

    /// What of this element `earlier` leaves, which goes first; none if that cannot be said in elements of these fields.
    pub fn without(&self, earlier: &Element) -> Option<Vec<Element>> {
        let covered = covers(&earlier.family, &self.family, |a, b| a == b)
            && covers(&earlier.is.prefix, &self.is.prefix, |a, b| a.contains(b))
            && covers(&earlier.is.local, &self.is.local, |a, b| a.contains(b))
            && covers(&earlier.is.protocol, &self.is.protocol, |a, b| a == b)
            && covers(&earlier.is.dscp, &self.is.dscp, |a, b| a == b);
        let (gone, own) = match (covered, earlier.is.ports, self.is.ports) {
            (true, None, _) => return Some(Vec::new()),
            (true, Some(gone), Some(own)) => (gone, own),
            _ => return None,
        };
        let below =
            (own.first < gone.first).then(|| PortRange { first: own.first, last: own.last.min(gone.first - 1) });
        let above = (own.last > gone.last).then(|| PortRange { first: own.first.max(gone.last + 1), last: own.last });
        let rest = below.into_iter().chain(above);
        Some(rest.map(|ports| Element { is: ClassElement { ports: Some(ports), ..self.is }, ..self.clone() }).collect())
    }
}

/// Whether two fields, each of which may name nothing and then fits everything, have something in common.
fn both<T>(one: &Option<T>, other: &Option<T>, fit: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => fit(one, other),
        _ => true,
    }
}

/// Whether everything that fits `narrow` fits `wide`.
fn covers<T>(wide: &Option<T>, narrow: &Option<T>, contains: impl Fn(&T, &T) -> bool) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => contains(wide, narrow),
    }
}

/// Whatever goes to `local`.
pub(super) fn of_local(local: IpNet, to: FlowTo) -> Element {
    let is = ClassElement { local: Some(local), to, ..ClassElement::default() };
    Element { family: Some(family_of(&local)), is }
}

/// Everything `policy` matches; if `local`, only where the other address lies in one of these networks.
pub(super) fn of_policy(policy: &Policy<'_>, local: Option<&[IpNet]>) -> Vec<Element> {
    let mut elements = Vec::new();
    for one in &policy.spec.matches {
        for simple in expanded(one) {
            for place in places(&simple, local) {
                elements.extend(headers(&simple, place, policy.to));
            }
        }
    }
    elements
}

/// The matches a profile stands for, narrowed by what stands beside it; a match without profile is itself.
fn expanded(one: &Match) -> Vec<Match> {
    let Some(profile) = one.profile else { return vec![one.clone()] };
    let narrowed = |simple: Match| Match { prefix: one.prefix, dscp: one.dscp, ..simple };
    profile.matches().into_iter().map(narrowed).collect()
}

/// Where packets come from and go to.
#[derive(Clone, Copy)]
struct Place {
    family: Option<Family>,
    prefix: Option<IpNet>,
    local: Option<IpNet>,
}

fn places(one: &Match, local: Option<&[IpNet]>) -> Vec<Place> {
    let prefix = one.prefix.map(|prefix| prefix.trunc());
    let locals: Vec<Option<IpNet>> = match local {
        Some(networks) => networks.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let mut places = Vec::new();
    for local in locals {
        let named = [prefix, local].map(|network| network.as_ref().map(family_of));
        match named {
            // No packet has one address of each family.
            [Some(one), Some(other)] if one != other => {}
            [None, None] if one.dscp.is_some() => {
                // DSCP lies elsewhere in each family's header.
                let families = [Family::Ipv4, Family::Ipv6].map(Some);
                places.extend(families.map(|family| Place { family, prefix, local }));
            }
            [one, other] => places.push(Place { family: one.or(other), prefix, local }),
        }
    }
    places
}

fn headers(one: &Match, Place { family, prefix, local }: Place, to: FlowTo) -> Vec<Element> {
    let protocols: Vec<Option<u8>> = match one.protocol {
        None => vec![None],
        Some(Protocol::Tcp) => vec![Some(TCP)],
        Some(Protocol::Udp) => vec![Some(UDP)],
        Some(Protocol::Icmp) => match family {
            Some(Family::Ipv4) => vec![Some(ICMP)],
            Some(Family::Ipv6) => vec![Some(ICMPV6)],
            None => vec![Some(ICMP), Some(ICMPV6)],
        },
    };
    let ports: Vec<Option<PortRange>> = match one.ports.as_slice() {
        [] => vec![None],
        ports => merged(ports).into_iter().map(Some).collect(),
    };
    let mut elements = Vec::new();
    for protocol in protocols {
        elements.extend(ports.iter().map(|ports| Element {
            family,
            is: ClassElement { prefix, local, protocol, ports: *ports, dscp: one.dscp, to },
        }));
    }
    elements
}

/// The same ports in as few ranges as there can be, sorted.
fn merged(ports: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ports.to_vec();
    sorted.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

pub(super) fn family_of(network: &IpNet) -> Family {
    match network {
        IpNet::V4(_) => Family::Ipv4,
        IpNet::V6(_) => Family::Ipv6,
    }
}
