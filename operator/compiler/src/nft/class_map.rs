//! Class maps: many policies as a few interval maps, tried in order, the first that knows a flow decides.

use std::collections::BTreeMap;

use pathsteer_crds::plan::{ClassElement, ClassMap, Family, NftRule, PolicySet, RemoteSide};

use super::cover::{self, addresses};
use super::element::{Element, Fields};

/// Maps under construction. Elements come in the order in which they are tried.
#[derive(Default)]
pub(super) struct ClassMaps(Vec<Map>);

impl ClassMaps {
    /// Adds what earlier elements leave of `element`: to the earliest map of its family in which it overlaps nothing,
    /// unless it would come before an element of a later map that decides otherwise; else to a new one at the end.
    /// Whether there are packets about which it decides.
    pub fn add(&mut self, element: Element) -> bool {
        let mut live = false;
        let mut pieces = vec![element];
        while let Some(piece) = pieces.pop() {
            let overlapping: Vec<Vec<&Element>> = self.0.iter().map(|map| map.overlapping(&piece)).collect();
            if let Some(rest) = overlapping.iter().flatten().find_map(|earlier| piece.without(earlier)) {
                pieces.extend(rest);
                continue;
            }
            live = live || !cover::covers(overlapping.iter().flatten().copied(), &piece);
            let mut place = None;
            for (index, overlapping) in overlapping.iter().enumerate().rev() {
                if overlapping.is_empty() && self.0[index].family == piece.family {
                    place = Some(index);
                }
                if overlapping.iter().any(|earlier| earlier.is.to != piece.is.to) {
                    break;
                }
            }
            let place = place.unwrap_or_else(|| {
                self.0.push(Map { family: piece.family, sorts: BTreeMap::new() });
                self.0.len() - 1
            });
            self.0[place].insert(piece);
        }
        live
    }

    pub fn into_rules(self, set: PolicySet, remote: RemoteSide) -> Vec<NftRule> {
        let rule = |(order, map): (u16, Map)| {
            let Map { family, sorts } = map;
            let all = sorts.into_values().flat_map(|sort| sort.elements).flat_map(|(_, elements)| elements);
            let mut elements: Vec<ClassElement> = all.map(|one| one.is).collect();
            elements.sort();
            NftRule::ClassMap(ClassMap { set, order, family, remote, elements })
        };
        (1..).zip(self.0).map(rule).collect()
    }
}

/// One map.
struct Map {
    family: Option<Family>,
    /// Its elements, by which fields they name.
    sorts: BTreeMap<Fields, Sort>,
}

impl Map {
    fn insert(&mut self, element: Element) {
        let fields = element.fields();
        self.sorts.entry(fields).or_insert_with(|| Sort::new(fields)).insert(element);
    }

    fn overlapping(&self, other: &Element) -> Vec<&Element> {
        self.sorts.values().flat_map(|sort| sort.overlapping(other)).collect()
    }
}

/// Elements that name the same fields. A thousand policies are compared with each other by the field that tells them
/// apart best, so they are kept in the order of that.
struct Sort {
    fields: Fields,
    /// By where an element begins.
    elements: BTreeMap<u128, Vec<Element>>,
    /// The longest way from where an element begins to where it ends.
    longest: u128,
}

impl Sort {
    fn new(fields: Fields) -> Self {
        Sort { fields, elements: BTreeMap::new(), longest: 0 }
    }

    fn insert(&mut self, element: Element) {
        let (first, last) = self.span(&element.is);
        self.longest = self.longest.max(last - first);
        self.elements.entry(first).or_default().push(element);
    }

    fn overlapping<'a>(&'a self, other: &Element) -> Vec<&'a Element> {
        let (first, last) = self.span(&other.is);
        let near = self.elements.range(first.saturating_sub(self.longest)..=last);
        near.flat_map(|(_, elements)| elements).filter(|element| element.overlaps(other)).collect()
    }

    /// From where to where `element` reaches in the field by which these are ordered.
    fn span(&self, element: &ClassElement) -> (u128, u128) {
        let everything = (0, u128::MAX);
        if self.fields.prefix {
            return element.prefix.map_or(everything, addresses);
        }
        if self.fields.local {
            return element.local.map_or(everything, addresses);
        }
        let Some(protocol) = element.protocol else { return everything };
        let protocol = u128::from(protocol) << u16::BITS;
        match element.ports {
            Some(ports) => (protocol + u128::from(ports.first), protocol + u128::from(ports.last)),
            None => (protocol, protocol + u128::from(u16::MAX)),
        }
    }
}
