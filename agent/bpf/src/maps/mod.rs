//! The maps, typed.

mod inner;
mod prefix;
mod remote;

use std::{cmp::Ordering, collections::BTreeMap};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, HashOfMaps, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf},
};

use crate::{
    Error,
    layout::{Chosen, Config, Counters, Incarnation, Learned, Remote, class_key, split_class_key},
};

/// Create only (BPF_NOEXIST).
const NO_EXIST: u64 = 1;
/// Inner maps of this flag may differ in size (BPF_F_INNER_MAP).
const INNER_MAP: u32 = 1 << 12;

/// Typed handles to every map but the program-only ones.
pub struct Maps {
    config: Array<MapData, Config>,
    prefix: LpmTrie<MapData, [u8; 16], u32>,
    remote: Array<MapData, Remote>,
    endpoint: HashMap<MapData, [u8; 4], u32>,
    slot: HashMap<MapData, u32, u32>,
    chosen: HashMap<MapData, u32, Chosen>,
    learned: HashMap<MapData, u32, Learned>,
    incarnation: Array<MapData, Incarnation>,
    sequence: HashOfMaps<MapData, u32, Array<MapData, u32>>,
    window: HashOfMaps<MapData, u32, Array<MapData, u64>>,
    /// Sequences and windows again, for what all inner maps have.
    inner: [HashOfMaps<MapData, u32>; 2],
    inner_ids: [u32; 2],
    counter: PerCpuArray<MapData, Counters>,
    acknowledgements: MapData,
}

/// The pins that make a datapath.
pub(crate) const NAMES: [&str; 12] = [
    "ps_config",
    "ps_prefix",
    "ps_remote",
    "ps_endpoint",
    "ps_slot",
    "ps_chosen",
    "ps_learned",
    "ps_incarnation",
    "ps_sequence",
    "ps_window",
    "ps_counter",
    "ps_ack",
];

impl Maps {
    pub(crate) fn take(object: &mut Ebpf) -> Result<Self, Error> {
        let mut map = |name: &'static str| object.take_map(name).ok_or(Error::Missing(name));
        let Map::RingBuf(acknowledgements) = map("ps_ack")? else { return Err(Error::Missing("ring ps_ack")) };
        let (sequence, window) = (map("ps_sequence")?, map("ps_window")?);
        Ok(Maps {
            config: map("ps_config")?.try_into()?,
            prefix: map("ps_prefix")?.try_into()?,
            remote: map("ps_remote")?.try_into()?,
            endpoint: map("ps_endpoint")?.try_into()?,
            slot: map("ps_slot")?.try_into()?,
            chosen: map("ps_chosen")?.try_into()?,
            learned: map("ps_learned")?.try_into()?,
            incarnation: map("ps_incarnation")?.try_into()?,
            inner_ids: [id_of(&sequence)?, id_of(&window)?],
            inner: [again(&sequence)?.try_into()?, again(&window)?.try_into()?],
            sequence: sequence.try_into()?,
            window: window.try_into()?,
            counter: map("ps_counter")?.try_into()?,
            acknowledgements,
        })
    }

    /// A reader of the ring of acknowledgements. Two at a time would take them from each other.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn acknowledgements(&self) -> Result<RingBuf<MapData>, MapError> {
        Map::RingBuf(MapData::from_id(self.acknowledgements.info()?.id())?).try_into()
    }

    /// # Errors
    /// What the kernel says.
    pub fn config(&self) -> Result<Config, MapError> {
        self.config.get(&0, 0)
    }

    /// Windows of another width than declared so far are made anew: what they have seen is forgotten.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_config(&mut self, config: Config) -> Result<(), MapError> {
        // The programs reckon places in the windows by the config: at every moment there is room for it.
        let mut resized = self.resize_windows(config.window_shift, Ordering::Less)?;
        self.config.set(0, config, 0)?;
        resized.extend(self.resize_windows(config.window_shift, Ordering::Greater)?);
        // what came in between was noted by one width and would be read by the other
        resized.into_iter().try_for_each(|id| self.begin_anew(id))
    }

    /// Which slot's packets come in by the interface with this index.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn slot(&self, ifindex: u32) -> Result<Option<u32>, MapError> {
        optional(self.slot.get(&ifindex, 0))
    }

    /// # Errors
    /// What the kernel says.
    pub fn set_slot(&mut self, ifindex: u32, slot: u32) -> Result<(), MapError> {
        self.slot.insert(ifindex, slot, 0)
    }

    /// Forgets the slots of interfaces that are not `known`. Every interface made anew has another index, and the map
    /// has room for 64.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn retain_slots(&mut self, known: impl Fn(u32) -> bool) -> Result<(), MapError> {
        let indexes: Vec<u32> = self.slot.keys().collect::<Result<_, _>>()?;
        indexes.into_iter().filter(|index| !known(*index)).try_for_each(|index| gone_is_fine(self.slot.remove(&index)))
    }

    /// Everything chosen, by remote and class.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn chosen(&self) -> Result<BTreeMap<(u32, u8), Chosen>, MapError> {
        by_class(self.chosen.iter())
    }

    /// One map update: the switch itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn choose(&mut self, remote: u32, class: u8, chosen: Chosen) -> Result<(), MapError> {
        self.chosen.insert(class_key(remote, class), chosen, 0)
    }

    /// Everything learned, by remote and class; entries without a path yet are left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn learned(&self) -> Result<BTreeMap<(u32, u8), Learned>, MapError> {
        let mut all = by_class(self.learned.iter())?;
        all.retain(|_, learned| learned.active != 0);
        Ok(all)
    }
}

/// The kernel's number of a map of maps.
fn id_of(map: &Map) -> Result<u32, Error> {
    let Map::HashOfMaps(data) = map else { return Err(Error::Missing("map of maps")) };
    Ok(data.info()?.id())
}

/// Another handle to a map of maps.
fn again(map: &Map) -> Result<Map, Error> {
    Ok(Map::HashOfMaps(MapData::from_id(id_of(map)?)?))
}

fn by_class<V: Pod>(
    entries: impl Iterator<Item = Result<(u32, V), MapError>>,
) -> Result<BTreeMap<(u32, u8), V>, MapError> {
    entries.map(|entry| entry.map(|(key, value)| (split_class_key(key), value))).collect()
}

fn optional<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn present<T>(result: Result<T, MapError>) -> Result<bool, MapError> {
    Ok(optional(result)?.is_some())
}

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// EEXIST: somebody was faster or it is from before; what is there stays.
fn exists_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// ENOENT: what should go is gone.
fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
