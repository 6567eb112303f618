//! What the operator itself remembers of the store, in case somebody empties it: the numbers given out, the nodes' public
//! keys, and the store epoch. All of them are in the store; this is what fills in while they are missing there.
//!
//! Kept in a file, for an operator that is started when the store is empty already.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdMap;
use pathsteer_compiler::Allocations;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::{canonical, keys};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::epoch;
use crate::pki::private_file;
use crate::store::{Entries, Entry, Snapshot, changed};

/// Node to what it says of itself. Two of them share what they have in common.
pub type Identities = OrdMap<String, Arc<NodeIdentity>>;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    pub store_epoch: u64,
    /// None before any were given out.
    pub allocations: Option<Arc<Allocations>>,
    pub identities: Identities,
}

/// The same in a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    store_epoch: u64,
    allocations: Option<Allocations>,
    identities: BTreeMap<String, NodeIdentity>,
}

impl Known {
    fn of(kept: Kept) -> Known {
        let identities = kept.identities.into_iter().map(|(node, identity)| (node, Arc::new(identity)));
        Known {
            store_epoch: kept.store_epoch,
            allocations: kept.allocations.map(Arc::new),
            identities: identities.collect(),
        }
    }

    fn to_kept(&self) -> Kept {
        let identities = self.identities.iter().map(|(node, identity)| (node.clone(), NodeIdentity::clone(identity)));
        Kept {
            store_epoch: self.store_epoch,
            allocations: self.allocations.as_deref().cloned(),
            identities: identities.collect(),
        }
    }
}

/// Reads what one snapshot after another says, and of each only what has changed.
#[derive(Debug, Default)]
pub struct Stored {
    seen: Entries,
    allocations: Option<(Entry, Arc<Allocations>)>,
    identities: Identities,
}

impl Stored {
    /// What this snapshot says.
    ///
    /// # Errors
    /// The allocations are not readable.
    pub fn read(&mut self, snapshot: &Snapshot) -> Result<Known, serde_json::Error> {
        let folder = format!("{}nodes/", keys::ROOT);
        for key in changed(&self.seen, &snapshot.entries) {
            let below = key.strip_prefix(&folder).and_then(|below| below.strip_suffix("/report/identity"));
            let Some(node) = below else { continue };
            let identity = snapshot.get(key).and_then(|entry| serde_json::from_str(&entry.value).ok());
            match identity {
                Some(identity) => self.identities.insert(node.to_owned(), Arc::new(identity)),
                None => self.identities.remove(node),
            };
        }
        self.seen = snapshot.entries.clone();
        let entry = snapshot.get(keys::ALLOCATIONS);
        let known = self.allocations.take().filter(|(of, _)| Some(of) == entry);
        self.allocations = match (entry, known) {
            (Some(entry), None) => Some((entry.clone(), Arc::new(serde_json::from_str(&entry.value)?))),
            (_, known) => known,
        };
        let allocations = self.allocations.as_ref().map(|(_, allocations)| Arc::clone(allocations));
        Ok(Known { store_epoch: epoch::current(snapshot), allocations, identities: self.identities.clone() })
    }
}

/// Remembers, in memory and in a file.
#[derive(Debug)]
pub struct Memory {
    file: PathBuf,
    known: Known,
    stored: Stored,
    /// Whether the file holds it.
    is_written: bool,
}

impl Memory {
    /// What `data_dir` remembers. A file that cannot be read is as good as none: the store has it all.
    pub fn open(data_dir: &Path) -> Memory {
        let file = data_dir.join("memory.json");
        let known = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map(Known::of).unwrap_or_else(|error| {
                warn!(path = %file.display(), %error, "cannot be read, it will be written anew");
                Known::default()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!(path = %file.display(), %error, "cannot be read");
                }
                Known::default()
            }
        };
        Memory { file, known, is_written: true, stored: Stored::default() }
    }

    /// What this snapshot says, filled in by what is remembered where it says nothing.
    ///
    /// # Errors
    /// The allocations are not readable.
    pub fn fill_in(&mut self, snapshot: &Snapshot) -> Result<Known, serde_json::Error> {
        let stored = self.stored.read(snapshot)?;
        let store_epoch = match snapshot.get(keys::EPOCH) {
            Some(_) => stored.store_epoch,
            None => self.known.store_epoch.max(stored.store_epoch),
        };
        let mut identities = stored.identities;
        for (node, identity) in &self.known.identities {
            if !identities.contains_key(node) {
                identities.insert(node.clone(), Arc::clone(identity));
            }
        }
        let allocations = stored.allocations.or_else(|| self.known.allocations.clone());
        Ok(Known { store_epoch, allocations, identities })
    }

    /// Remembers `known`. That it cannot be written is no reason to stop: the store has it, and the next call tries again.
    pub fn keep(&mut self, known: Known) {
        if known == self.known && self.is_written {
            return;
        }
        let written = private_file::write(&self.file, &canonical::to_json(&known.to_kept()));
        if let Err(error) = &written {
            warn!(path = %self.file.display(), %error, "cannot be written");
        }
        self.is_written = written.is_ok();
        self.known = known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(entries: &[(&str, &str)]) -> Snapshot {
        let entries =
            entries.iter().map(|(key, value)| ((*key).to_owned(), Entry { value: (*value).into(), mod_revision: 7 }));
        Snapshot::listed(9, entries.collect())
    }

    #[test]
    fn what_the_store_says_comes_first_and_what_it_lost_is_filled_in_even_by_the_next_operator() {
        let folder = tempfile::tempdir().unwrap();
        let identity = keys::identity("rv-07");
        let full = store(&[
            (keys::ALLOCATIONS, r#"{"nodes":{"rv-07":5}}"#),
            (keys::EPOCH, "3"),
            (&identity, r#"{"wireguardKeys":{"1":"k"}}"#),
        ]);
        let mut memory = Memory::open(folder.path());
        let known = memory.fill_in(&full).unwrap();
        memory.keep(known.clone());
        let mut next = Memory::open(folder.path());
        assert_eq!(next.fill_in(&store(&[])).unwrap(), known);
        let newer = store(&[(keys::ALLOCATIONS, r#"{"nodes":{"rv-07":6}}"#), (keys::EPOCH, "2")]);
        let filled = next.fill_in(&newer).unwrap();
        assert_eq!((filled.allocations.unwrap().nodes["rv-07"], filled.store_epoch), (6, 2));
        assert_eq!(filled.identities, known.identities);
        assert!(next.fill_in(&store(&[(keys::ALLOCATIONS, "?")])).is_err());
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_whole_and_is_written_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(folder.path());
        let [old, new] = [1, 2].map(|store_epoch| Known { store_epoch, ..Known::default() });
        memory.keep(old.clone());
        // As on a full disk, no file can be made there.
        let obstacle = folder.path().join("memory.json.new");
        std::fs::create_dir(&obstacle).unwrap();
        memory.keep(new.clone());
        assert_eq!(Memory::open(folder.path()).known, old);
        std::fs::remove_dir(&obstacle).unwrap();
        memory.keep(new.clone());
        assert_eq!(Memory::open(folder.path()).known, new);
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("memory.json"), "{").unwrap();
        assert_eq!(Memory::open(folder.path()).known, Known::default());
    }
}
