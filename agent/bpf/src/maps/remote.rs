//! Remotes with what is kept for each of them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::AsFd,
    os::fd::AsRawFd,
};

use aya::maps::{Array, MapData, MapError, PerCpuValues};

use super::{INNER_MAP, Maps, batch, optional};
use crate::layout::{self, BUCKETS, Counters, Incarnation, Remote, class_key};

/// The address where there is no remote.
const NONE: [u8; 4] = [0; 4];

impl Maps {
    /// Every remote with its classes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remotes(&self) -> Result<BTreeMap<u32, (Remote, Vec<u8>)>, MapError> {
        let mut all = BTreeMap::new();
        for (id, remote) in batch::places::<Remote>(&self.remotes)? {
            if remote.address != NONE {
                let classes = (1..=15).filter(|class| remote.classes >> class & 1 == 1).collect();
                all.insert(id, (remote, classes));
            }
        }
        Ok(all)
    }

    /// Makes a remote known, with sequences and windows for `classes`; what exists of these stays, what is no longer
    /// named goes. A remote with another identity has lost its memory: its next packet begins anew, whatever its epoch.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_remote(&mut self, id: u32, remote: Remote, classes: &[u8], window_packets: u32) -> Result<(), MapError> {
        let remote = Remote { classes: classes.iter().map(|class| 1 << class).sum(), ..remote };
        let before = self.remote.get(&id, 0)?;
        if before.classes != remote.classes {
            // in between it has none that can be relied upon: who finds it like this does it again
            self.remote.set(id, Remote { classes: 0, ..before }, 0)?;
        }
        for class in (1..=15).filter(|class| !classes.contains(class)) {
            self.remove_class(class_key(id, class))?;
        }
        self.make_inner(classes.iter().map(|class| (id, *class)), window_packets)?;
        if before.address == NONE || before.identity != remote.identity {
            self.begin_anew(id)?;
        }
        // the remote itself last: what a program finds is complete
        self.remote.set(id, remote, 0)
    }

    /// No epoch is valid: the next packet makes its own valid, with the next number for what the windows hold.
    pub(super) fn begin_anew(&mut self, id: u32) -> Result<(), MapError> {
        let state = self.incarnation.get(&id, 0)?.state & !0xff;
        let fresh = Incarnation { state, previous: layout::NO_EPOCH, ..Incarnation::default() };
        self.incarnation.set(id, fresh, 0)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_remote(&mut self, id: u32) -> Result<(), MapError> {
        self.remote.set(id, Remote::default(), 0)?;
        for class in 1..=15 {
            self.remove_class(class_key(id, class))?;
        }
        // another node may get the id, and begins at zero
        let none = vec![Counters::default(); self.counter.get(&id, 0)?.len()];
        self.counter.set(id, PerCpuValues::try_from(none)?, 0)
    }

    /// Makes the windows anew whose width is so much different from the declared one, and says of which remotes.
    pub(super) fn resize_windows(&mut self, shift: u32, difference: Ordering) -> Result<BTreeSet<u32>, MapError> {
        let mut resized = BTreeSet::new();
        if shift == 0 {
            return Ok(resized); // nothing is declared
        }
        let words = BUCKETS << (shift - 5);
        for (id, (_, classes)) in self.remotes()? {
            for key in classes.into_iter().map(|class| class_key(id, class)) {
                let [_, windows] = &self.inner;
                let present: MapData = windows.get(&key, 0)?;
                if present.info()?.max_entries().cmp(&words) == difference {
                    self.window.insert(key, &Array::create(words, INNER_MAP)?, 0)?;
                    resized.insert(id);
                }
            }
        }
        Ok(resized)
    }

    /// Bytes of kernel memory that the sequences and windows of a remote take, in all of its classes, as the kernel
    /// itself reckons them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn memory(&self, id: u32) -> Result<u64, MapError> {
        let mut bytes = 0;
        for class in 1..=15 {
            for outer in &self.inner {
                if let Some(inner) = optional(outer.get(&class_key(id, class), 0))? {
                    bytes += memory_of(&inner)?;
                }
            }
        }
        Ok(bytes)
    }

    /// Every counter of every remote, summed over processors; remote 0 has what cannot be laid to one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counters(&self) -> Result<BTreeMap<u32, BTreeMap<&'static str, u64>>, MapError> {
        let mut all = BTreeMap::new();
        for id in self.remotes()?.into_keys().chain([0]) {
            let processors = self.counter.get(&id, 0)?;
            let sum = |index: usize| processors.iter().map(|counters| counters.0[index]).sum();
            all.insert(id, layout::COUNTERS.into_iter().enumerate().map(|(index, name)| (name, sum(index))).collect());
        }
        Ok(all)
    }
}

fn memory_of(map: &MapData) -> Result<u64, MapError> {
    let path = format!("/proc/thread-self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(path)?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    bytes.ok_or_else(|| std::io::Error::other("no memlock in a map's fdinfo").into())
}
