//! Declared: what stands in the spec keys, next to the last version of each object that was good.

use std::collections::BTreeMap;
use std::sync::Arc;

use pathsteer_crds::{AnyObject, Kind, keys};

use super::admission::{self, Refusal};
use super::guard::Vanished;
use super::parsed::Parsed;
use crate::store::{Entry, Snapshot};

/// Kind and key (`name`, or `site/name`) of an object.
pub type Id = (Kind, String);

/// One object as declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Revision of the spec key: the object's generation.
    pub mod_revision: i64,
    /// The newest version, if it can be one.
    pub newest: Arc<Result<AnyObject, Refusal>>,
    /// The last version that was good, if there was one.
    pub admitted: Option<Arc<AnyObject>>,
}

impl Declared {
    /// Whether the newest version is also the last good one.
    pub fn is_admitted(&self) -> bool {
        matches!((&*self.newest, &self.admitted), (Ok(newest), Some(admitted)) if *newest == **admitted)
    }
}

/// Reads [`Declared`] from snapshots.
#[derive(Debug, Default)]
pub struct Reader {
    newest: Parsed<Result<AnyObject, Refusal>>,
    admitted: Parsed<Option<Arc<AnyObject>>>,
}

impl Reader {
    /// Everything declared at this snapshot.
    pub fn read(&mut self, snapshot: &Snapshot) -> BTreeMap<Id, Declared> {
        let mut all = BTreeMap::new();
        let specs = format!("{}spec/", keys::ROOT);
        for (path, entry) in snapshot.below(&specs) {
            let Some((kind, key)) = keys::parse_spec(path) else { continue };
            let newest = self.newest.get(path, entry, |json| admission::admit(kind, key, json));
            let admitted_path = keys::admitted(kind, key);
            let admitted = snapshot.get(&admitted_path).and_then(|entry| self.admitted(kind, &admitted_path, entry));
            all.insert((kind, key.to_owned()), Declared { mod_revision: entry.mod_revision, newest, admitted });
        }
        self.newest.retain(|key| snapshot.get(key).is_some());
        self.admitted.retain(|key| snapshot.get(key).is_some());
        all
    }

    /// Objects that were good once and are declared no longer, each in its last good version.
    pub fn vanished(&mut self, snapshot: &Snapshot, declared: &BTreeMap<Id, Declared>) -> Vanished {
        let mut vanished = Vanished::new();
        let folder = format!("{}admitted/", keys::ROOT);
        for (path, entry) in snapshot.below(&folder) {
            let Some((kind, key)) = keys::parse(path, "admitted") else { continue };
            let id = (kind, key.to_owned());
            if !declared.contains_key(&id) {
                vanished.insert(id, self.admitted(kind, path, entry));
            }
        }
        vanished
    }

    fn admitted(&mut self, kind: Kind, path: &str, entry: &Entry) -> Option<Arc<AnyObject>> {
        (*self.admitted.get(path, entry, |json| AnyObject::from_json(kind, json).ok().map(Arc::new))).clone()
    }
}
