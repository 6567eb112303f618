//! Class maps: what nft refuses, what would send a flow where it must not go, and classes nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use pathsteer_crds::plan::{ClassElement, ClassMap, FlowTo, NftRule, PolicySet};

use super::View;

pub(super) fn check(view: &mut View<'_>) {
    let maps: Vec<&ClassMap> = view
        .nft(view.clear_netns())
        .filter_map(|rule| match rule {
            NftRule::ClassMap(map) => Some(map),
            _ => None,
        })
        .collect();
    let mut orders: BTreeMap<PolicySet, Vec<u16>> = BTreeMap::new();
    for map in &maps {
        orders.entry(map.set).or_default().push(map.order);
        one(view, map);
    }
    for (set, orders) in orders {
        if !orders.iter().copied().eq(1..=orders.len() as u16) {
            view.finding("PolicyUnclear", format!("class maps {set:?}"), format!("are tried as {orders:?}"));
        }
    }
    classes(view, &maps);
}

fn one(view: &mut View<'_>, map: &ClassMap) {
    let object = format!("class map {:?} {}", map.set, map.order);
    // Ranges of ports, by whatever else their elements name.
    let mut by_port: BTreeMap<ClassElement, Vec<(u16, u16)>> = BTreeMap::new();
    for element in &map.elements {
        let ClassElement { prefix, local, protocol: _, ports: range, dscp, to } = element;
        if (prefix.is_some() || local.is_some() || dscp.is_some()) && map.family.is_none() {
            view.finding("PolicyUnclear", object.clone(), "names addresses or a DSCP of no family");
        }
        if map.set == PolicySet::Tunnel && *to == FlowTo::Direct {
            view.finding("LeavesInClear", object.clone(), "sends a flow of a tunnel straight to the internet");
        }
        let rest = ClassElement { ports: None, to: FlowTo::Direct, ..*element };
        let range = range.map_or((0, u16::MAX), |range| (range.first, range.last));
        by_port.entry(rest).or_default().push(range);
    }
    let twice = by_port.values_mut().any(|ranges| {
        ranges.sort_unstable();
        ranges.windows(2).any(|pair| pair[0].1 >= pair[1].0)
    });
    if twice || overlap(&map.elements) {
        view.finding("PolicyUnclear", object, "elements overlap: nft refuses them");
    }
}

/// How much of a packet an element looks at, but for its ports: the lengths of its networks, and whether it names a
/// protocol and a DSCP.
type Shape = ([Option<u8>; 2], [bool; 2]);

fn shape(element: &ClassElement) -> Shape {
    let lengths = [element.prefix, element.local].map(|network| network.map(|network| network.prefix_len()));
    (lengths, [element.protocol.is_some(), element.dscp.is_some()])
}

/// Whether elements of different shapes overlap: those can that are the same where both look.
fn overlap(elements: &[ClassElement]) -> bool {
    let mut shapes: BTreeMap<Shape, Vec<&ClassElement>> = BTreeMap::new();
    for element in elements {
        shapes.entry(shape(element)).or_default().push(element);
    }
    let shapes: Vec<(Shape, Vec<&ClassElement>)> = shapes.into_iter().collect();
    let pairs =
        shapes.iter().enumerate().flat_map(|(index, one)| shapes[index + 1..].iter().map(move |other| (one, other)));
    pairs.into_iter().any(|((one, these), (other, those))| {
        let both = common(one, other);
        let mut seen: BTreeMap<ClassElement, Vec<&ClassElement>> = BTreeMap::new();
        for this in these {
            seen.entry(widened(this, both)).or_default().push(this);
        }
        let met =
            |that: &&ClassElement| seen.get(&widened(that, both)).into_iter().flatten().any(|this| ports(this, that));
        those.iter().any(met)
    })
}

/// Where elements of both shapes look.
fn common(one: &Shape, other: &Shape) -> Shape {
    let shorter = |at: usize| one.0[at].zip(other.0[at]).map(|(one, other)| one.min(other));
    ([0, 1].map(shorter), [0, 1].map(|at| one.1[at] && other.1[at]))
}

/// The element with nothing but what `shape` looks at.
fn widened(element: &ClassElement, (lengths, [protocol, dscp]): Shape) -> ClassElement {
    let networks = [(element.prefix, lengths[0]), (element.local, lengths[1])];
    let [prefix, local] = networks.map(|(network, length)| {
        let (network, length) = network.zip(length)?;
        Some(IpNet::new(network.addr(), length).unwrap_or(network).trunc())
    });
    ClassElement {
        prefix,
        local,
        protocol: element.protocol.filter(|_| protocol),
        dscp: element.dscp.filter(|_| dscp),
        ..ClassElement::default()
    }
}

/// Whether two elements have ports in common.
fn ports(one: &ClassElement, other: &ClassElement) -> bool {
    let pair = one.ports.zip(other.ports);
    pair.is_none_or(|(one, other)| one.first <= other.last && other.first <= one.last)
}

/// Whatever class a flow may get, both ends have sequences and windows for it.
fn classes(view: &mut View<'_>, maps: &[&ClassMap]) {
    let elements = maps.iter().flat_map(|map| &map.elements).map(|element| element.to);
    let defaults = view.nft(view.clear_netns()).filter_map(|rule| match rule {
        NftRule::Segment { default, .. } => Some(*default),
        NftRule::DefaultClass { class } => Some(FlowTo::Class(*class)),
        _ => None,
    });
    let used: BTreeSet<FlowTo> = elements.chain(defaults).collect();
    for to in used {
        let FlowTo::Class(class) = to else { continue };
        if view.plan.remotes.iter().any(|remote| !remote.classes.contains(&class)) {
            let message = "a remote has no sequences for it: its packets would be dropped";
            view.finding("NothingThere", format!("class {class}"), message);
        }
    }
    if !view.nft(view.clear_netns()).any(|rule| matches!(rule, NftRule::DefaultClass { .. })) {
        view.finding("PolicyUnclear", "default class".to_owned(), "what no map knows gets no class, and no sequence");
    }
}
