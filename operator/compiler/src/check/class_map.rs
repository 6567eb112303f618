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
    let mut fields = BTreeSet::new();
    // Ranges of ports, by whatever else their elements name.
    let mut ports: BTreeMap<ClassElement, Vec<(u16, u16)>> = BTreeMap::new();
    for element in &map.elements {
        let ClassElement { prefix, local, protocol, ports: range, dscp, to } = element;
        fields.insert([prefix.is_some(), local.is_some(), protocol.is_some(), range.is_some(), dscp.is_some()]);
        if (prefix.is_some() || local.is_some() || dscp.is_some()) && map.family.is_none() {
            view.finding("PolicyUnclear", object.clone(), "names addresses or a DSCP of no family");
        }
        if map.set == PolicySet::Tunnel && *to == FlowTo::Direct {
            view.finding("LeavesInClear", object.clone(), "sends a flow of a tunnel straight to the internet");
        }
        let rest = ClassElement { ports: None, to: FlowTo::Direct, ..*element };
        let range = range.map_or((0, u16::MAX), |range| (range.first, range.last));
        ports.entry(rest).or_default().push(range);
    }
    if fields.len() > 1 {
        view.finding("PolicyUnclear", object.clone(), "its elements do not name the same fields");
    }
    let twice = ports.values_mut().any(|ranges| {
        ranges.sort_unstable();
        ranges.windows(2).any(|pair| pair[0].1 >= pair[1].0)
    });
    if twice || nested(&map.elements) {
        view.finding("PolicyUnclear", object, "elements overlap: nft refuses them");
    }
}

/// Whether an element lies in another whose networks are wider. Only those can that are the same once their networks
/// are widened to the other's.
fn nested(elements: &[ClassElement]) -> bool {
    type Lengths = [Option<u8>; 2];
    let lengths = |element: &ClassElement| [element.prefix, element.local].map(|one| one.map(|one| one.prefix_len()));
    let widths: BTreeSet<Lengths> = elements.iter().map(lengths).collect();
    let mut alike: BTreeMap<(Lengths, ClassElement), Vec<&ClassElement>> = BTreeMap::new();
    for element in elements {
        for width in &widths {
            alike.entry((*width, widened(element, *width))).or_default().push(element);
        }
    }
    alike.iter().any(|((width, _), alike)| {
        let widest = alike.iter().filter(|element| lengths(element) == *width);
        widest.into_iter().any(|one| alike.iter().any(|other| lengths(other) != *width && overlap(one, other)))
    })
}

/// The element with its networks, and not its ports, widened to `width`.
fn widened(element: &ClassElement, width: [Option<u8>; 2]) -> ClassElement {
    let [prefix, local] = [(element.prefix, width[0]), (element.local, width[1])].map(|(network, length)| {
        network.map(|one| IpNet::new(one.addr(), length.unwrap_or(0).min(one.prefix_len())).unwrap_or(one).trunc())
    });
    ClassElement { prefix, local, ports: None, to: FlowTo::Direct, ..*element }
}

fn overlap(one: &ClassElement, other: &ClassElement) -> bool {
    let networks = |pair: [Option<IpNet>; 2]| match pair {
        [Some(one), Some(other)] => one.contains(&other) || other.contains(&one),
        _ => true,
    };
    let ports = match [one.ports, other.ports] {
        [Some(one), Some(other)] => one.first <= other.last && other.first <= one.last,
        _ => true,
    };
    let headers = one.protocol == other.protocol && one.dscp == other.dscp;
    headers && ports && networks([one.prefix, other.prefix]) && networks([one.local, other.local])
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
