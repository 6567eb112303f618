//! The operator's copy of the store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, Vector};
use tokio::sync::watch;

use pathsteer_crds::keys;

use super::Topic;

/// So many deletions are remembered, for watches that go on where they ended.
const REMEMBERED: usize = 1_000;

/// A value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Arc<str>,
    pub mod_revision: i64,
}

/// By key. Copies share what they have in common: a copy costs nothing, and to compare two of them no more than what they
/// differ in.
pub type Entries = OrdMap<String, Entry>;

/// Every key of ours at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: i64,
    /// Revision of the last change of what plans are compiled from ([`Topic::Inputs`]); after a list, when a deletion
    /// may have gone unseen, the revision of the list.
    pub inputs: i64,
    pub entries: Entries,
    /// What was declared and is no longer, the oldest first.
    deleted: Vector<Deleted>,
    /// Deletions after this revision are in there; of those before nothing is known.
    remembered_since: i64,
}

/// A spec key that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// At which revision it was seen to be gone.
    pub revision: i64,
    pub key: String,
    /// What it was.
    pub last: Entry,
}

impl Snapshot {
    /// Everything at `revision`, as listed.
    pub fn listed(revision: i64, entries: Entries) -> Snapshot {
        Snapshot { revision, inputs: revision, entries, deleted: Vector::new(), remembered_since: revision }
    }

    /// What was declared at `revision` or later and is no longer; None if it cannot be told.
    pub fn deleted_since(&self, revision: i64) -> Option<impl Iterator<Item = &Deleted>> {
        let known = (self.remembered_since..=self.revision).contains(&revision);
        known.then(|| self.deleted.iter().filter(move |deleted| deleted.revision > revision))
    }

    fn remember(&mut self, revision: i64, key: String, last: Entry) {
        if keys::parse_spec(&key).is_none() {
            return;
        }
        self.deleted.push_back(Deleted { revision, key, last });
        if self.deleted.len() > REMEMBERED {
            self.remembered_since = self.deleted.pop_front().map_or(revision, |forgotten| forgotten.revision);
        }
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Keys that begin with `prefix`, in order.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.entries
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.as_str(), entry))
    }
}

/// The keys of what is not in `after` what it is in `before`: new, different or gone.
pub fn changed<'a, K: Ord, V: PartialEq>(
    before: &'a OrdMap<K, V>,
    after: &'a OrdMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    before.diff(after).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
        DiffItem::Update { new: (key, _), .. } => key,
    })
}

/// The copy, shared by everyone who reads; written by the reflector alone.
///
/// # Guarantees
/// A reader sees all of one revision and nothing of the next. Who waits for a topic is woken after the copy has the
/// change, at least once per change, several changes possibly in one.
#[derive(Debug)]
pub struct Mirror {
    snapshot: RwLock<Snapshot>,
    revision: watch::Sender<i64>,
    /// The revision of the last change of each topic somebody waits for.
    topics: Mutex<BTreeMap<Topic, watch::Sender<i64>>>,
}

impl Default for Mirror {
    fn default() -> Self {
        Mirror { snapshot: RwLock::default(), revision: watch::Sender::new(0), topics: Mutex::default() }
    }
}

impl Mirror {
    /// Runs `read` on the copy. Writers wait meanwhile: take what is needed and return.
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.read(|snapshot| snapshot.get(key).cloned())
    }

    /// Revision of the copy; 0 until the first list is complete.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    /// Follows changes of `topic`. The first `changed()` returns at the first change after this call; the value is
    /// the revision of the last change (0 if none was seen yet).
    pub fn subscribe(&self, topic: Topic) -> watch::Receiver<i64> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Waits until the copy has reached `revision`; whether it did within `patience`.
    pub async fn reached(&self, revision: i64, patience: Duration) -> bool {
        let mut current = self.revision.subscribe();
        let waited = tokio::time::timeout(patience, current.wait_for(|at| *at >= revision)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Replaces everything by a complete list. What vanished counts as changed like what is new or different, and
    /// everybody who waits is told that inputs were read at this revision.
    pub(super) fn replace(&self, fresh: Snapshot) {
        let revision = fresh.revision;
        let mut changed = vec![Topic::Inputs];
        {
            let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *snapshot, fresh);
            let different = snapshot.entries.iter().filter(|(key, entry)| old.entries.get(*key) != Some(*entry));
            changed.extend(different.flat_map(|(key, _)| Topic::of(key)));
            // Revisions that ran backwards are those of another store: nobody goes on from where the old one was.
            if old.revision > 0 && old.revision <= revision {
                (snapshot.deleted, snapshot.remembered_since) = (old.deleted, old.remembered_since);
            }
            for (key, entry) in old.entries {
                if !snapshot.entries.contains_key(&key) {
                    changed.extend(Topic::of(&key));
                    snapshot.remember(revision, key, entry);
                }
            }
        }
        self.announce(revision, changed);
    }

    /// Applies the changes of one watch message: a value, or None where a key was deleted.
    pub(super) fn apply(&self, revision: i64, changes: Vec<(String, Option<Entry>)>) {
        let changed: Vec<Topic> = changes.iter().flat_map(|(key, _)| Topic::of(key)).collect();
        {
            let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
            snapshot.revision = revision;
            if changed.contains(&Topic::Inputs) {
                snapshot.inputs = revision;
            }
            for (key, entry) in changes {
                if let Some(entry) = entry {
                    snapshot.entries.insert(key, entry);
                } else if let Some(last) = snapshot.entries.remove(&key) {
                    snapshot.remember(revision, key, last);
                }
            }
        }
        self.announce(revision, changed);
    }

    fn announce(&self, revision: i64, mut changed: Vec<Topic>) {
        changed.sort();
        changed.dedup();
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in changed {
            if let Some(sender) = topics.get(&topic) {
                sender.send_replace(revision);
            }
        }
        topics.retain(|_, sender| sender.receiver_count() > 0);
        drop(topics);
        self.revision.send_replace(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pathsteer_crds::{Kind, keys};

    fn entry(value: &str, mod_revision: i64) -> Entry {
        Entry { value: value.into(), mod_revision }
    }

    fn snapshot(revision: i64, entries: &[(&str, Entry)]) -> Snapshot {
        Snapshot::listed(revision, entries.iter().map(|(k, e)| ((*k).to_owned(), e.clone())).collect())
    }

    fn deleted_since(mirror: &Mirror, revision: i64) -> Option<Vec<(i64, String)>> {
        mirror.read(|snapshot| {
            Some(snapshot.deleted_since(revision)?.map(|gone| (gone.revision, gone.key.clone())).collect())
        })
    }

    #[test]
    fn deletions_are_told_since_any_revision_that_is_known() {
        let (mirror, site, uplink) =
            (Mirror::default(), keys::spec(Kind::Site, "rv-07"), keys::spec(Kind::Uplink, "rv-07/fiber"));
        mirror.replace(snapshot(5, &[(&site, entry("{}", 4)), (&uplink, entry("{}", 5))]));
        mirror.apply(6, vec![(site.clone(), None)]);
        assert_eq!(deleted_since(&mirror, 5), Some(vec![(6, site.clone())]));
        assert_eq!(deleted_since(&mirror, 6), Some(vec![]));
        assert_eq!(deleted_since(&mirror, 4), None, "before the first list");
        assert_eq!(deleted_since(&mirror, 7), None, "still to come");
        mirror.replace(snapshot(9, &[]));
        assert_eq!(deleted_since(&mirror, 5), Some(vec![(6, site), (9, uplink)]), "found gone by a list");
        mirror.replace(snapshot(3, &[]));
        assert_eq!(deleted_since(&mirror, 9), None, "a store restored from a backup is another one");
    }

    #[test]
    fn of_deletions_only_the_newest_thousand_are_known() {
        let mirror = Mirror::default();
        mirror.replace(snapshot(1, &[]));
        for n in 0..2_000 {
            let key = keys::spec(Kind::Mode, &n.to_string());
            mirror.apply(2 * n + 2, vec![(key.clone(), Some(entry("{}", 2 * n + 2)))]);
            mirror.apply(2 * n + 3, vec![(key, None)]);
        }
        assert_eq!(deleted_since(&mirror, 2_001).map(|gone| gone.len()), Some(1_000));
        assert_eq!(deleted_since(&mirror, 2_000), None);
    }

    #[test]
    fn a_key_that_vanished_between_two_lists_wakes_those_who_wait_for_it() {
        let mirror = Mirror::default();
        let root = keys::plan_root("rv-07");
        mirror.replace(snapshot(5, &[(&root, entry("{}", 4))]));
        let mut plan = mirror.subscribe(Topic::Plan("rv-07".into()));
        let mut other = mirror.subscribe(Topic::Plan("rv-08".into()));
        mirror.replace(snapshot(9, &[]));
        assert!(plan.has_changed().unwrap() && *plan.borrow_and_update() == 9);
        assert!(!other.has_changed().unwrap() && *other.borrow_and_update() == 0);
        assert_eq!(mirror.get(&root), None);
    }

    #[test]
    fn only_the_topic_of_a_changed_key_is_woken() {
        let mirror = Mirror::default();
        mirror.replace(snapshot(5, &[]));
        let inputs = mirror.subscribe(Topic::Inputs);
        let reports = mirror.subscribe(Topic::Reports);
        mirror.apply(6, vec![(keys::report("rv-07"), Some(entry("{}", 6)))]);
        assert!(reports.has_changed().unwrap());
        assert!(!inputs.has_changed().unwrap());
        mirror.apply(7, vec![(keys::spec(Kind::Site, "rv-07"), None)]);
        assert!(inputs.has_changed().unwrap());
    }

    #[test]
    fn below_lists_a_prefix_and_nothing_after_it() {
        let all = snapshot(1, &[("a/1", entry("", 1)), ("a/2", entry("", 1)), ("b/1", entry("", 1))]);
        assert_eq!(all.below("a/").map(|(key, _)| key).collect::<Vec<_>>(), ["a/1", "a/2"]);
    }
}
