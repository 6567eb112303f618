//! Values of the store as types, parsed once per revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::Entry;

/// What was made of the newest value of each key. A turn looks at every object; most have not changed since the last.
#[derive(Debug)]
pub struct Parsed<T> {
    values: BTreeMap<String, (i64, Arc<T>)>,
}

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Parsed { values: BTreeMap::new() }
    }
}

impl<T> Parsed<T> {
    /// What `parse` makes of `entry`, or made of it when it was last seen at this revision.
    pub fn get(&mut self, key: &str, entry: &Entry, parse: impl FnOnce(&str) -> T) -> Arc<T> {
        match self.values.get(key) {
            Some((revision, value)) if *revision == entry.mod_revision => Arc::clone(value),
            _ => {
                let value = Arc::new(parse(&entry.value));
                self.values.insert(key.to_owned(), (entry.mod_revision, Arc::clone(&value)));
                value
            }
        }
    }

    /// Forgets keys that are gone.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.values.retain(|key, _| exists(key));
    }
}
