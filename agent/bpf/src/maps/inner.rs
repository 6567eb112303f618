//! Sequences and windows: a map each per remote and class, inside two maps of maps.

use aya::{
    Pod,
    maps::{Array, HashOfMaps, Map, MapData, MapError},
};

use super::{INNER_MAP, Maps, gone_is_fine, present};
use crate::layout::{BUCKETS, class_key};

/// Threads that wait at the same time: more gain nothing that could be measured with 500 remotes.
const AT_ONCE: usize = 64;

impl Maps {
    /// Makes sequences and windows for these remotes and classes where there are none; what exists stays.
    ///
    /// The kernel answers a change of a map of maps only when no program can still use what was there before, which takes
    /// some milliseconds. Whoever waits at the same time waits for the same: the remotes of an anchor are best made all at
    /// once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make_inner(
        &mut self,
        classes: impl IntoIterator<Item = (u32, u8)>,
        window_packets: u32,
    ) -> Result<(), MapError> {
        let keys: Vec<u32> = classes.into_iter().map(|(remote, class)| class_key(remote, class)).collect();
        let [sequences, windows] = self.inner_ids;
        self.make::<u32>(0, &keys, sequences, BUCKETS, 0)?;
        self.make::<u64>(1, &keys, windows, BUCKETS * (window_packets / 32), INNER_MAP)
    }

    /// Makes the missing ones of `keys` in the map of maps `outer` with number `id`.
    fn make<V: Pod + Send>(
        &self,
        outer: usize,
        keys: &[u32],
        id: u32,
        entries: u32,
        flags: u32,
    ) -> Result<(), MapError> {
        let mut missing = Vec::new();
        for key in keys {
            if !present(self.inner[outer].get(key, 0))? {
                missing.push(*key);
            }
        }
        let insert = |keys: &[u32]| -> Result<(), MapError> {
            let mut outer: HashOfMaps<MapData, u32, Array<MapData, V>> =
                Map::HashOfMaps(MapData::from_id(id)?).try_into()?;
            keys.iter().try_for_each(|key| outer.insert(key, &Array::create(entries, flags)?, 0))
        };
        let share = missing.len().div_ceil(AT_ONCE).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = missing.chunks(share).map(|keys| scope.spawn(move || insert(keys))).collect();
            // all of them end before the first error is passed on
            let done: Vec<Result<(), MapError>> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            done.into_iter().collect()
        })
    }

    /// What is not there is not removed: before 6.8 that would wait too.
    pub(super) fn remove_class(&mut self, key: u32) -> Result<(), MapError> {
        if present(self.sequence.get(&key, 0))? {
            gone_is_fine(self.sequence.remove(&key))?;
        }
        if present(self.window.get(&key, 0))? {
            gone_is_fine(self.window.remove(&key))?;
        }
        gone_is_fine(self.learned.remove(&key))?;
        gone_is_fine(self.chosen.remove(&key))
    }
}
