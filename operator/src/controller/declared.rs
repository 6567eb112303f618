//! Declared: what stands in the spec keys, next to the last version of each object that was good.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use pathsteer_crds::{AnyObject, Kind, keys};

use super::admission::{self, Refusal};
use super::guard::Vanished;
use crate::store::{Entries, Snapshot, changed};

/// Kind and key (`name`, or `site/name`) of an object.
pub type Id = (Kind, String);

/// Everything declared. Two of them share what they have in common.
pub type Declarations = OrdMap<Id, Declared>;

/// One object as declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Revision of the spec key: the object's generation.
    pub mod_revision: i64,
    /// The newest version, if it can be one.
    pub newest: Result<Arc<AnyObject>, Arc<Refusal>>,
    /// The last version that was good, if there was one; the very same as `newest` if it is equal.
    pub admitted: Option<Arc<AnyObject>>,
}

impl Declared {
    /// A version and the last good one.
    pub fn new(
        mod_revision: i64,
        newest: Result<Arc<AnyObject>, Arc<Refusal>>,
        admitted: Option<Arc<AnyObject>>,
    ) -> Declared {
        let same = newest.as_ref().ok().filter(|newest| admitted.as_ref() == Some(newest)).cloned();
        Declared { mod_revision, admitted: same.or(admitted), newest }
    }

    /// Whether the newest version is also the last good one.
    pub fn is_admitted(&self) -> bool {
        matches!((&self.newest, &self.admitted), (Ok(newest), Some(admitted)) if Arc::ptr_eq(newest, admitted))
    }

    /// The newest version that can be one.
    pub fn best(&self) -> Option<&Arc<AnyObject>> {
        self.newest.as_ref().ok().or(self.admitted.as_ref())
    }
}

/// Of one object read once: whatever has changed has been read anew.
impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        let newest = match (&self.newest, &other.newest) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            (Err(one), Err(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let admitted = match (&self.admitted, &other.admitted) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        newest && admitted && self.mod_revision == other.mod_revision
    }
}

/// Reads [`Declarations`] from one snapshot after another, and of each only what has changed.
#[derive(Debug, Default)]
pub struct Reader {
    seen: Entries,
    declared: Declarations,
    vanished: Vanished,
}

impl Reader {
    /// Everything declared at this snapshot.
    pub fn read(&mut self, snapshot: &Snapshot) -> Declarations {
        let id = |path| keys::parse(path, "spec").or_else(|| keys::parse(path, "admitted"));
        let seen = std::mem::replace(&mut self.seen, snapshot.entries.clone());
        let changed: BTreeSet<(Kind, &str)> = changed(&seen, &snapshot.entries).filter_map(|key| id(key)).collect();
        for (kind, key) in changed {
            self.look(&seen, snapshot, kind, key);
        }
        self.declared.clone()
    }

    /// Objects that were good once and are declared no longer at the snapshot that was read last, each in its last good
    /// version.
    pub fn vanished(&self) -> Vanished {
        self.vanished.clone()
    }

    fn look(&mut self, seen: &Entries, snapshot: &Snapshot, kind: Kind, key: &str) {
        let id = (kind, key.to_owned());
        let before = self.declared.remove(&id);
        self.vanished.remove(&id);
        let path = keys::admitted(kind, key);
        let entry = snapshot.get(&path);
        let kept = before.as_ref().filter(|_| entry == seen.get(&path)).map(|before| before.admitted.clone());
        let admitted = kept.unwrap_or_else(|| AnyObject::from_json(kind, &entry?.value).ok().map(Arc::new));
        let path = keys::spec(kind, key);
        let Some(spec) = snapshot.get(&path) else {
            if entry.is_some() {
                self.vanished.insert(id, admitted);
            }
            return;
        };
        let kept = before.filter(|_| Some(spec) == seen.get(&path)).map(|before| before.newest);
        let read = || admission::admit(kind, key, &spec.value).map(Arc::new).map_err(Arc::new);
        self.declared.insert(id, Declared::new(spec.mod_revision, kept.unwrap_or_else(read), admitted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    fn site(prefix: &str) -> String {
        format!(
            r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"Site","metadata":{{"name":"rv-07"}},
            "spec":{{"anchors":["dal-a"],"prefixes":["{prefix}"]}}}}"#
        )
    }

    #[test]
    fn whoever_reads_every_change_and_who_reads_the_last_see_the_same() {
        let (spec, admitted) = (keys::spec(Kind::Site, "rv-07"), keys::admitted(Kind::Site, "rv-07"));
        let (one, other, bad) = (site("172.16.7.0/24"), site("172.16.128.0/24"), "{".to_owned());
        let values = [None, Some(&one), Some(&other), Some(&bad)];
        let mut reader = Reader::default();
        let mut revision = 1;
        let mut states = Vec::new();
        for spec_value in values {
            for admitted_value in values {
                states.push((spec_value, admitted_value));
            }
        }
        for first in &states {
            for second in &states {
                for (spec_value, admitted_value) in [first, second] {
                    revision += 1;
                    // What has not changed has the revision it had.
                    let entry =
                        |value: &String| Entry { value: value.as_str().into(), mod_revision: value.len() as i64 };
                    let pairs = [(&spec, spec_value), (&admitted, admitted_value)];
                    let entries =
                        pairs.iter().filter_map(|(key, value)| Some(((*key).clone(), entry(value.as_ref()?))));
                    let snapshot = Snapshot::listed(revision, entries.collect());
                    let said = |declared: &Declarations, reader: &Reader| {
                        let one = |(id, one): (&Id, &Declared)| {
                            let newest = one.newest.as_ref().map_err(ToString::to_string).cloned();
                            (id.clone(), one.mod_revision, newest, one.admitted.clone(), one.is_admitted())
                        };
                        (declared.iter().map(one).collect::<Vec<_>>(), reader.vanished())
                    };
                    let declared = reader.read(&snapshot);
                    let mut fresh = Reader::default();
                    let alone = fresh.read(&snapshot);
                    assert_eq!(said(&declared, &reader), said(&alone, &fresh), "{spec_value:?} {admitted_value:?}");
                }
            }
        }
    }
}
