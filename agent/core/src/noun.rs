//! What every noun of a plan can say about itself.

use std::collections::BTreeMap;

use pathsteer_crds::ownership::HOST;
use pathsteer_crds::plan::PlanObjects;
use serde::Serialize;

use crate::{ChangeClass, PlanObject};

/// A kind of kernel object. Each noun's file answers the same questions in the same order.
pub(crate) trait Noun: Clone + PartialEq + Into<PlanObject> + Serialize {
    /// What makes two objects the same one, whatever else differs.
    type Key<'a>: Ord
    where
        Self: 'a;

    fn key(&self) -> Self::Key<'_>;

    /// The object as found is what this one declares.
    fn satisfied_by(&self, found: &Self) -> bool;

    /// What turning `found` (same key, not satisfying) into this one does to flows.
    fn class(&self, found: &Self) -> ChangeClass;

    /// Whether it can be turned into this one; otherwise it has to be deleted and created.
    fn is_turned(&self, found: &Self) -> bool {
        self.class(found) != ChangeClass::Disruptive
    }

    /// Noun and name for people.
    fn name(&self) -> String;

    /// Of several objects of this noun, lower ones are made first and removed last.
    fn rank(&self) -> u8 {
        0
    }

    /// Whether it can be taken away by itself, rather than with what it belongs to.
    fn removable(&self) -> bool {
        true
    }

    fn list(objects: &PlanObjects) -> &[Self];
}

/// Whether what is declared of this noun is what was found, word for word. Most often it is, and to compare two sorted lists
/// costs far less than to look each object up.
pub(crate) fn same<T: Noun>(desired: &PlanObjects, found: &PlanObjects) -> bool {
    T::list(desired) == T::list(found)
}

/// The objects by key. The kernel may hold several of one key (two rules of one priority, say).
pub(crate) fn by_key<T: Noun>(objects: &PlanObjects) -> BTreeMap<T::Key<'_>, Vec<&T>> {
    let mut all: BTreeMap<_, Vec<&T>> = BTreeMap::new();
    for one in T::list(objects) {
        all.entry(one.key()).or_default().push(one);
    }
    all
}

/// A namespace in words.
pub(crate) fn place(netns: &str) -> &str {
    if netns == HOST { "host" } else { netns }
}
