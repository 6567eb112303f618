//! The maps, typed.

mod batch;
mod inner;
mod prefix;
mod remote;

use std::{cmp::Ordering, collections::BTreeMap};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashOfMaps, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf},
};

use crate::{
    Error,
    layout::{Chosen, Config, Counters, Incarnation, Learned, Remote, Slots, class_key},
    takeover::Ways,
};

/// Inner maps of this flag may differ in size (BPF_F_INNER_MAP).
const INNER_MAP: u32 = 1 << 12;

/// Typed handles to every map but the program-only ones.
pub struct Maps {
    config: Array<MapData, Config>,
    prefix: LpmTrie<MapData, [u8; 16], u32>,
    remote: Array<MapData, Remote>,
    /// The same again, to be read as a whole.
    remotes: MapData,
    slot: Array<MapData, Slots>,
    chosen: Array<MapData, Chosen>,
    learned: Array<MapData, Learned>,
    incarnation: Array<MapData, Incarnation>,
    window: HashOfMaps<MapData, u32, Array<MapData, u64>>,
    /// Sequences and windows again, for what all inner maps have.
    inner: [HashOfMaps<MapData, u32>; 2],
    inner_ids: [u32; 2],
    counter: PerCpuArray<MapData, Counters>,
    acknowledgements: MapData,
}

/// The pins that make a datapath.
pub(crate) const NAMES: [&str; 11] = [
    "ps_config",
    "ps_prefix",
    "ps_remote",
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
        let remote = map("ps_remote")?;
        let Map::Array(remotes) = &remote else { return Err(Error::Missing("array ps_remote")) };
        let remotes = MapData::from_id(remotes.info()?.id())?;
        let (sequence, window) = (as_hash(map("ps_sequence")?)?, as_hash(map("ps_window")?)?);
        Ok(Maps {
            config: map("ps_config")?.try_into()?,
            prefix: map("ps_prefix")?.try_into()?,
            remote: remote.try_into()?,
            remotes,
            slot: map("ps_slot")?.try_into()?,
            chosen: map("ps_chosen")?.try_into()?,
            learned: map("ps_learned")?.try_into()?,
            incarnation: map("ps_incarnation")?.try_into()?,
            inner_ids: [id_of(&sequence)?, id_of(&window)?],
            inner: [sequence.try_into()?, again(&window)?.try_into()?],
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

    /// Which slot's packets come in by the interface with this index; 0 if none's do.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn slot(&self, ifindex: u32) -> Result<u8, MapError> {
        let slots = self.slot.get(&0, 0)?.ifindex;
        Ok((1..).zip(slots).find(|(_, known)| *known == ifindex).map_or(0, |(slot, _)| slot))
    }

    /// The packets of `slot` (1-8) come in by this interface, and by no other; 0: it is no slot's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_slot(&mut self, ifindex: u32, slot: u8) -> Result<(), MapError> {
        let mut slots = self.slot.get(&0, 0)?;
        for (number, known) in (1..).zip(&mut slots.ifindex) {
            if number == slot {
                *known = ifindex;
            } else if *known == ifindex {
                *known = 0;
            }
        }
        self.slot.set(0, slots, 0)
    }

    /// What is chosen, by remote and class.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn chosen(&self) -> Result<BTreeMap<(u32, u8), Chosen>, MapError> {
        Ok(self.by_class(&self.chosen)?.into_iter().filter(|(_, chosen)| chosen.active != 0).collect())
    }

    /// One map update: the switch itself.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn choose(&mut self, remote: u32, class: u8, chosen: Chosen) -> Result<(), MapError> {
        self.chosen.set(class_key(remote, class), chosen, 0)
    }

    /// Goes on by the paths that [`crate::begin_anew`] has found.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn go_on(&mut self, Ways { chosen, learned }: Ways) -> Result<(), MapError> {
        chosen.into_iter().try_for_each(|(key, chosen)| self.chosen.set(key, chosen, 0))?;
        learned.into_iter().try_for_each(|(key, learned)| self.learned.set(key, learned, 0))
    }

    /// What is learned, by remote and class.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn learned(&self) -> Result<BTreeMap<(u32, u8), Learned>, MapError> {
        Ok(self.by_class(&self.learned)?.into_iter().filter(|(_, learned)| learned.active != 0).collect())
    }

    /// Every class of every remote in `of`.
    fn by_class<V: Pod>(&self, of: &Array<MapData, V>) -> Result<BTreeMap<(u32, u8), V>, MapError> {
        let classes = self
            .remotes()?
            .into_iter()
            .flat_map(|(id, (_, classes))| classes.into_iter().map(move |class| (id, class)));
        classes.map(|(id, class)| Ok(((id, class), of.get(&class_key(id, class), 0)?))).collect()
    }
}

/// The kernel's number of a map of maps.
fn id_of(map: &Map) -> Result<u32, Error> {
    let Map::HashOfMaps(data) = map else { return Err(Error::Missing("map of maps")) };
    Ok(data.info()?.id())
}

/// An array of maps, to be used like a hash: the crate's own type for it cannot empty a place. The kernel can, by the call
/// that removes from a hash, and an empty place is one without an entry.
fn as_hash(map: Map) -> Result<Map, Error> {
    let Map::ArrayOfMaps(data) = map else { return Err(Error::Missing("array of maps")) };
    Ok(Map::HashOfMaps(data))
}

/// Another handle to a map of maps.
fn again(map: &Map) -> Result<Map, Error> {
    Ok(Map::HashOfMaps(MapData::from_id(id_of(map)?)?))
}

fn optional<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
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
