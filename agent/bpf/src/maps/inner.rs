//! Sequences and windows: a map each per remote and class, inside two maps of maps.

use aya::{
    Pod,
    maps::{Array, HashOfMaps, Map, MapData, MapError},
};

use super::{INNER_MAP, Maps, gone_is_fine, optional};
use crate::layout::{BUCKETS, Chosen, Learned, class_key};

/// Threads that wait at the same time: more gain nothing that could be measured with 500 remotes.
const AT_ONCE: usize = 64;

impl Maps {
    /// Makes sequences and windows for these remotes and classes where there are none of this size; what exists stays.
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

    /// Makes those of `keys` that the map of maps `outer` with number `id` has not got in this size.
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
            let present: Option<MapData> = optional(self.inner[outer].get(key, 0))?;
            let fits = present.map(|map| Ok::<_, MapError>(map.info()?.max_entries() == entries)).transpose()?;
            if fits != Some(true) {
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

    /// Sequences stay (1 KiB): if the class comes back they go on, for its far end, which may not have heard of anything,
    /// would take smaller ones for what it has seen. Who is new there takes any.
    ///
    /// What is not there is not removed: before 6.8 that would wait too.
    pub(super) fn remove_class(&mut self, key: u32) -> Result<(), MapError> {
        if optional(self.window.get(&key, 0))?.is_some() {
            gone_is_fine(self.window.remove(&key))?;
        }
        // after the window: the kernel has waited for every program that had it, and without it none learns
        self.learned.set(key, Learned::default(), 0)?;
        self.chosen.set(key, Chosen::default(), 0)
    }
}
