//! Allocations: numbers given out once and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The steering class of whatever no policy names.
pub(crate) const DEFAULT_CLASS: &str = "default";
/// The same for what is a service and not survivable.
pub(crate) const DEFAULT_SERVICE_CLASS: &str = "default/service";
/// How the key of a service class ends; no class a person names contains a `/`.
pub(crate) const SERVICE: &str = "/service";
pub(crate) const DEFAULT_CLASS_ID: u8 = 1;
/// The mark and the shim's key have four bits for a class, 0 is control and 1 is `default`.
const CLASS_IDS: RangeInclusive<u8> = 2..=15;
/// The mark has four bits for an anchor, 0 means "on an anchor".
const ANCHOR_INDEXES: RangeInclusive<u8> = 1..=15;

/// Numbers that belong to an object as long as it exists, whoever else comes or goes, and who has what only one can
/// have. Stored by the operator and handed to the next compilation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allocations {
    /// Node name to node index, from 1; the last index depends on the overlay's length.
    pub nodes: BTreeMap<String, u32>,
    /// Anchor name to anchor index, 1 to 15.
    pub anchors: BTreeMap<String, u8>,
    /// Steering class to id, 1 to 15: `voice`, or `voice/service` for the service class of that name; `default` is 1.
    pub classes: BTreeMap<String, u8>,
    /// What only one object can have (`prefix 172.16.7.0/24`, `slot rv-07/1`, `interface rv-07/wan1`) to who has it: a
    /// newcomer that wants the same is at fault, not the one that worked until then.
    pub claims: BTreeMap<String, String>,
}

/// The numbers of one kind: those given before stay, new ones take the next above the highest, and once there is none
/// above, the lowest that is free. So the number of what was just deleted, which others may still hold state about, is
/// not given to a stranger at once.
pub(crate) struct Pool<N> {
    range: RangeInclusive<N>,
    given: BTreeMap<String, N>,
    taken: BTreeSet<N>,
}

impl<N: Copy + Ord> Pool<N>
where
    RangeInclusive<N>: Iterator<Item = N>,
{
    /// The numbers given `before` to objects that still exist. One that two objects have (a damaged store), or that
    /// lies outside `range`, is forgotten.
    pub fn new(range: RangeInclusive<N>, before: &BTreeMap<String, N>, exists: impl Fn(&str) -> bool) -> Self {
        let mut pool = Pool { range, given: BTreeMap::new(), taken: BTreeSet::new() };
        for (name, number) in before {
            if exists(name) && pool.range.contains(number) && pool.taken.insert(*number) {
                pool.given.insert(name.clone(), *number);
            }
        }
        pool
    }

    /// The number of `name`; none when the pool is exhausted.
    pub fn number(&mut self, name: &str) -> Option<N> {
        if let Some(number) = self.given.get(name) {
            return Some(*number);
        }
        let above = self.taken.last().map(|highest| *highest..=*self.range.end());
        let next = above.and_then(|mut above| above.nth(1));
        let number = next.or_else(|| self.range.clone().find(|number| !self.taken.contains(number)))?;
        self.taken.insert(number);
        self.given.insert(name.to_owned(), number);
        Some(number)
    }
}

/// The pools of one compilation.
pub(crate) struct Pools {
    pub nodes: Pool<u32>,
    pub anchors: Pool<u8>,
    classes: Pool<u8>,
}

impl Pools {
    /// What `before` gave to the nodes, anchors and classes that still exist. `last_node` is the last node index the
    /// overlay has room for.
    pub fn new(
        before: &Allocations,
        last_node: u32,
        is_node: impl Fn(&str) -> bool,
        is_anchor: impl Fn(&str) -> bool,
        is_class: impl Fn(&str) -> bool,
    ) -> Self {
        Pools {
            nodes: Pool::new(1..=last_node, &before.nodes, is_node),
            anchors: Pool::new(ANCHOR_INDEXES, &before.anchors, is_anchor),
            classes: Pool::new(CLASS_IDS, &before.classes, |name| name != DEFAULT_CLASS && is_class(name)),
        }
    }

    /// The id of the steering class with this key; none when all fifteen are taken.
    pub fn class(&mut self, name: &str) -> Option<u8> {
        if name == DEFAULT_CLASS { Some(DEFAULT_CLASS_ID) } else { self.classes.number(name) }
    }

    /// Id to key of every steering class in use.
    pub fn classes(&self) -> BTreeMap<u8, String> {
        let default = (DEFAULT_CLASS_ID, DEFAULT_CLASS.to_owned());
        self.classes.given.iter().map(|(key, id)| (*id, key.clone())).chain([default]).collect()
    }

    pub fn into_allocations(self, claims: BTreeMap<String, String>) -> Allocations {
        let mut classes = self.classes.given;
        classes.insert(DEFAULT_CLASS.to_owned(), DEFAULT_CLASS_ID);
        Allocations { nodes: self.nodes.given, anchors: self.anchors.given, classes, claims }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(&str, u8)]) -> BTreeMap<String, u8> {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn a_number_stays_when_others_go_and_free_ones_are_given_again_last() {
        let mut pool = Pool::new(1..=4, &names(&[("a", 1), ("b", 2), ("c", 3)]), |name| name != "a");
        assert_eq!(pool.number("c"), Some(3));
        assert_eq!(pool.number("d"), Some(4));
        assert_eq!(pool.number("e"), Some(1), "the number of what is gone is free again");
        assert_eq!(pool.number("f"), None);
    }

    #[test]
    fn a_full_pool_gives_nothing_and_keeps_what_it_gave() {
        let mut pool = Pool::new(1..=2, &BTreeMap::new(), |_| true);
        assert_eq!((pool.number("a"), pool.number("b")), (Some(1), Some(2)));
        assert_eq!((pool.number("c"), pool.number("a")), (None, Some(1)));
    }

    #[test]
    fn a_number_that_a_damaged_store_gave_twice_belongs_to_one() {
        let mut pool = Pool::new(1..=15, &names(&[("a", 1), ("b", 1), ("c", 99)]), |_| true);
        assert_eq!((pool.number("a"), pool.number("b"), pool.number("c")), (Some(1), Some(2), Some(3)));
    }

    #[test]
    fn the_default_class_is_always_one() {
        let before = Allocations { classes: names(&[("voice", 1)]), ..Allocations::default() };
        let mut pools = Pools::new(&before, 10, |_| true, |_| true, |_| true);
        assert_eq!((pools.class("voice"), pools.class("default")), (Some(2), Some(1)));
    }
}
