//! The guard: objects whose specs vanish in a mass, and not because somebody said so, stay in force until they are put
//! back or their deletion is confirmed. Whoever empties a prefix by mistake takes nothing from any node. Pure.
//!
//! It remembers nothing: what was in force is known by what the operator itself keeps beside the specs (last good
//! versions, plan roots, allocations), so that an operator that starts with an emptied store sees it too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_compiler::Allocations;
use pathsteer_crds::plan::Role;
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde::Serialize;

use super::decision::Decision;
use super::declared::{Declarations, Declared, Id};
use super::publish::root;
use crate::store::{Snapshot, Write};

/// So many may vanish at once whatever their share: a person who deletes one thing after another by hand.
const FEW: usize = 2;
/// More than one in so many is a mass, as for pruning.
const SHARE: usize = 4;
/// More names than these are counted only: the value must stay clear of etcd's limit.
const NAMED: usize = 1_000;

/// Objects that were in force and whose specs are gone, each with its last good version if that is still known.
pub type Vanished = BTreeMap<Id, Option<Arc<AnyObject>>>;

/// What is to be done about vanished objects.
#[derive(Debug, Default, PartialEq)]
pub struct Guard {
    /// These stay in force.
    pub withheld: Vanished,
    /// What is said about it in the store, if that is not there already.
    pub write: Option<Write>,
    /// It stood until now, and no longer does: removed after everything else.
    pub lifted: Option<Write>,
}

impl Guard {
    /// Judges `vanished`. A guard that stands holds until nothing is missing any more or somebody confirms, so that a
    /// fleet that is put back site by site does not lose the last ones; `stood` is whether it did when last looked.
    pub fn judge(snapshot: &Snapshot, declared: &Declarations, vanished: Vanished, stood: bool) -> Guard {
        let entry = snapshot.get(keys::GUARD);
        let confirmed = entry.is_some_and(|entry| entry.value.trim() == keys::CONFIRMED);
        let unmeant: Vanished = vanished
            .into_iter()
            .filter(|((kind, key), _)| snapshot.get(&keys::deleting(*kind, key)).is_none())
            .collect();
        let stands = || !confirmed && (stood || entry.is_some() || is_mass(declared, &unmeant));
        if unmeant.is_empty() || !stands() {
            let lifted = entry.map(|entry| Write::delete(keys::GUARD).if_at(entry.mod_revision));
            return Guard { lifted, ..Guard::default() };
        }
        let said = canonical::to_json(&Said::of(&unmeant));
        let write = entry
            .is_none_or(|entry| *entry.value != said)
            .then(|| Write::put(keys::GUARD, said).if_at(entry.map_or(0, |entry| entry.mod_revision)));
        Guard { withheld: unmeant, write, lifted: None }
    }

    /// Whether not even the last good versions of some nodes are left: what was compiled without them would take their
    /// tunnels from the others.
    pub fn is_blind(&self) -> bool {
        self.withheld.values().any(Option::is_none)
    }

    /// What people are told while it stands.
    pub fn sentence(&self) -> Option<String> {
        /// More names than these help nobody; the key has them.
        const FIRST: usize = 5;
        let names: Vec<_> = self.withheld.keys().take(FIRST).map(|(kind, key)| format!("{kind} {key}")).collect();
        let more = if self.withheld.len() > FIRST { ", …" } else { "" };
        (!names.is_empty()).then(|| {
            format!(
                "{} objects whose specs have vanished together are kept in force ({}{more}): put them back, or let them \
                 go with `pathsteer-operator confirm-deletion` or by putting the word `{}` into the key {}, which names them",
                self.withheld.len(),
                names.join(", "),
                keys::CONFIRMED,
                keys::GUARD
            )
        })
    }

    /// What vanished, as if it were still declared.
    pub fn as_declared(&self) -> impl Iterator<Item = (Id, Declared)> {
        self.withheld.iter().filter_map(|(id, last)| {
            let last = last.as_ref()?;
            Some((id.clone(), Declared::new(0, Ok(Arc::clone(last)), Some(Arc::clone(last)))))
        })
    }
}

/// What stands in the key.
#[derive(Debug, Serialize)]
struct Said {
    count: usize,
    message: &'static str,
    withheld: Vec<String>,
}

impl Said {
    fn of(vanished: &Vanished) -> Said {
        Said {
            count: vanished.len(),
            message: "the specs of these objects have vanished together, so they are kept in force: put them back \
                      (pathsteer apply), or let them go by putting the word `confirmed` into this key",
            withheld: vanished.keys().take(NAMED).map(|(kind, key)| format!("{kind} {key}")).collect(),
        }
    }
}

/// Whether any plan is published.
pub fn has_plans(snapshot: &Snapshot) -> bool {
    let folder = format!("{}nodes/", keys::ROOT);
    snapshot.below(&folder).any(|(key, _)| key.ends_with("/plan/root"))
}

/// Adds the nodes of which only a plan or a number is left.
pub fn add_nodes(
    vanished: &mut Vanished,
    snapshot: &Snapshot,
    declared: &Declarations,
    allocations: Option<&Allocations>,
) {
    let folder = format!("{}nodes/", keys::ROOT);
    let planned = snapshot.below(&folder).filter_map(|(key, _)| {
        let node = key[folder.len()..].strip_suffix("/plan/root")?;
        // A root of a big plan takes long to read, and of those declared nobody asks.
        let kind = || match root(snapshot, node) {
            Some((_, root)) if root.role == Role::Anchor => Kind::Anchor,
            _ => Kind::Site,
        };
        (!Decision::is_node(declared, node)).then(|| (node, kind()))
    });
    let numbered = allocations.into_iter().flat_map(|given| {
        let kind = |node| if given.anchors.contains_key(node) { Kind::Anchor } else { Kind::Site };
        given.nodes.keys().map(move |node| (node.as_str(), kind(node)))
    });
    for (node, kind) in planned.chain(numbered) {
        let names = [Kind::Site, Kind::Anchor].map(|kind| (kind, node.to_owned()));
        if !names.iter().any(|id| declared.contains_key(id) || vanished.contains_key(id)) {
            vanished.insert((kind, node.to_owned()), None);
        }
    }
}

/// Whether this much vanishes by mistake rather than by somebody's hand: everything there was; more than a few and more
/// than a quarter of the sites, of the anchors or of another kind; or all sites or all anchors, if there were several. A
/// site whose last uplink or last segment vanished counts as vanished: it is as cut off.
fn is_mass(declared: &Declarations, vanished: &Vanished) -> bool {
    if declared.is_empty() {
        return vanished.len() > 1;
    }
    Kind::ALL.into_iter().any(|kind| {
        let owners = |ids: &mut dyn Iterator<Item = &Id>| -> BTreeSet<String> {
            ids.filter(|(other, _)| *other == kind).map(|(_, key)| owner(kind, key).to_owned()).collect()
        };
        let left = owners(&mut declared.keys());
        let mut gone = owners(&mut vanished.keys());
        gone.retain(|owner| !left.contains(owner));
        let all = left.len() + gone.len();
        let is_node = !matches!(kind, Kind::TrafficPolicy | Kind::Mode | Kind::Override);
        (gone.len() > FEW && gone.len() * SHARE > all) || (is_node && gone.len() >= FEW && left.is_empty())
    })
}

/// Whom an object of `kind` is counted for: its site, or itself.
fn owner(kind: Kind, key: &str) -> &str {
    if kind.is_sited() { key.split('/').next().unwrap_or(key) } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::admission::admit;
    use crate::store::Entry;

    fn site(name: &str) -> (Id, Declared) {
        let json = format!(
            r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"Site","metadata":{{"name":"{name}"}},
            "spec":{{"anchors":["dal-a"],"prefixes":["172.16.7.0/24"]}}}}"#
        );
        let id = (Kind::Site, name.to_owned());
        let newest = admit(Kind::Site, name, &json).map(Arc::new).map_err(Arc::new);
        (id, Declared::new(1, newest, None))
    }

    fn sites(names: std::ops::Range<usize>) -> Declarations {
        names.map(|n| site(&format!("s{n:02}"))).collect()
    }

    fn gone(names: std::ops::Range<usize>) -> Vanished {
        names.map(|n| ((Kind::Site, format!("s{n:02}")), None)).collect()
    }

    fn withheld(left: std::ops::Range<usize>, vanished: std::ops::Range<usize>, store: &[(&str, &str)]) -> usize {
        let entries =
            store.iter().map(|(key, value)| ((*key).to_owned(), Entry { value: (*value).into(), mod_revision: 7 }));
        let snapshot = Snapshot::listed(9, entries.collect());
        Guard::judge(&snapshot, &sites(left), gone(vanished), false).withheld.len()
    }

    #[test]
    fn a_few_go_at_once_and_a_mass_does_not() {
        assert_eq!(withheld(2..12, 0..2, &[]), 0, "a person deletes two");
        assert_eq!(withheld(3..12, 0..3, &[]), 0, "three of twelve are a quarter");
        assert_eq!(withheld(3..11, 0..3, &[]), 3, "three of eleven are more");
        assert_eq!(withheld(0..0, 0..1, &[]), 0, "the only one");
        assert_eq!(withheld(0..0, 0..2, &[]), 2, "everything");
    }

    #[test]
    fn what_somebody_says_is_meant_to_go_goes_however_much_it_is() {
        let keys: Vec<_> = (0..10).map(|n| keys::deleting(Kind::Site, &format!("s{n:02}"))).collect();
        let meant: Vec<_> = keys.iter().map(|key| (key.as_str(), "{}")).collect();
        assert_eq!(withheld(0..0, 0..10, &meant), 0);
        assert_eq!(withheld(0..0, 0..10, &meant[..5]), 5, "and nothing else");
        assert_eq!(withheld(0..0, 0..10, &[(keys::GUARD, " confirmed\n")]), 0);
    }

    #[test]
    fn a_guard_that_stands_holds_until_the_last_one_is_back() {
        assert_eq!(withheld(1..12, 0..1, &[(keys::GUARD, "{}")]), 1);
        let snapshot = Snapshot::default();
        let stood = Guard::judge(&snapshot, &sites(1..12), gone(0..1), true);
        assert_eq!((stood.withheld.len(), stood.write.is_some()), (1, true), "somebody deleted its key too");
        let entries = BTreeMap::from([(keys::GUARD.to_owned(), Entry { value: "{}".into(), mod_revision: 7 })]);
        let snapshot = Snapshot::listed(9, entries.into());
        let back = Guard::judge(&snapshot, &sites(0..12), gone(0..0), true);
        assert_eq!(back.lifted, Some(Write::delete(keys::GUARD).if_at(7)));
    }

    #[test]
    fn sites_that_lose_their_last_uplinks_are_a_mass_and_one_sites_uplinks_are_not() {
        let uplinks = |sites: &[&str]| -> Vanished {
            sites.iter().map(|site| ((Kind::Uplink, format!("{site}/fiber")), None)).collect()
        };
        assert!(is_mass(&sites(0..3), &uplinks(&["s00", "s01"])));
        assert!(!is_mass(&sites(0..3), &uplinks(&["s00"])));
    }
}
