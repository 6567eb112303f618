//! The maps, typed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use aya::{
    Ebpf, Pod,
    maps::{
        Array, HashMap, HashOfMaps, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf, lpm_trie::Key,
    },
};

use crate::{
    Error,
    layout::{
        self, BUCKETS, Behind, Chosen, Config, Counters, Incarnation, Learned, Remote, class_key, split_class_key,
    },
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
    incarnation: HashMap<MapData, u32, Incarnation>,
    sequence: HashOfMaps<MapData, u32, Array<MapData, u32>>,
    window: HashOfMaps<MapData, u32, Array<MapData, u64>>,
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
        Ok(Maps {
            config: map("ps_config")?.try_into()?,
            prefix: map("ps_prefix")?.try_into()?,
            remote: map("ps_remote")?.try_into()?,
            endpoint: map("ps_endpoint")?.try_into()?,
            slot: map("ps_slot")?.try_into()?,
            chosen: map("ps_chosen")?.try_into()?,
            learned: map("ps_learned")?.try_into()?,
            incarnation: map("ps_incarnation")?.try_into()?,
            sequence: map("ps_sequence")?.try_into()?,
            window: map("ps_window")?.try_into()?,
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

    /// # Errors
    /// What the kernel says.
    pub fn set_config(&mut self, config: Config) -> Result<(), MapError> {
        self.config.set(0, config, 0)
    }

    /// Every prefix (IPv4 as such) and where it lies.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prefixes(&self) -> Result<BTreeMap<(IpAddr, u8), Behind>, MapError> {
        self.prefix.iter().map(|entry| entry.map(|(key, behind)| (from_key(&key), behind.into()))).collect()
    }

    /// # Errors
    /// What the kernel says.
    pub fn set_prefix(&mut self, address: IpAddr, length: u8, behind: Behind) -> Result<(), MapError> {
        self.prefix.insert(&to_key(address, length), u32::from(behind), 0)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_prefix(&mut self, address: IpAddr, length: u8) -> Result<(), MapError> {
        gone_is_fine(self.prefix.remove(&to_key(address, length)))
    }

    /// Every remote with its classes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remotes(&self) -> Result<BTreeMap<u32, (Remote, Vec<u8>)>, MapError> {
        let mut all = BTreeMap::new();
        for id in self.remote_ids()? {
            all.insert(id, (self.remote.get(&id, 0)?, Vec::new()));
        }
        for key in self.window.keys() {
            let (id, class) = split_class_key(key?);
            if let Some((_, classes)) = all.get_mut(&id) {
                classes.push(class);
                classes.sort_unstable();
            }
        }
        Ok(all)
    }

    fn remote_ids(&self) -> Result<Vec<u32>, MapError> {
        self.endpoint.iter().map(|entry| entry.map(|(_, id)| id)).collect()
    }

    /// Makes a remote known, with sequences and windows for `classes`; what exists of these stays, what is no longer
    /// named goes. A remote with another identity has lost its memory: its next packet begins anew, whatever its epoch.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_remote(&mut self, id: u32, remote: Remote, classes: &[u8], window_packets: u32) -> Result<(), MapError> {
        exists_is_fine(self.incarnation.insert(
            id,
            Incarnation { previous: layout::NO_EPOCH, ..Incarnation::default() },
            NO_EXIST,
        ))?;
        for class in 1..=15 {
            let key = class_key(id, class);
            if !classes.contains(&class) {
                self.remove_class(key)?;
                continue;
            }
            exists_is_fine(self.learned.insert(key, Learned::default(), NO_EXIST))?;
            if !present(self.sequence.get(&key, 0))? {
                self.sequence.insert(key, &Array::create(BUCKETS, 0)?, 0)?;
            }
            if !present(self.window.get(&key, 0))? {
                self.window.insert(key, &Array::create(BUCKETS * (window_packets / 32), INNER_MAP)?, 0)?;
            }
        }
        let before = self.remote.get(&id, 0)?;
        if before.address != [0; 4] {
            if before.address != remote.address {
                gone_is_fine(self.endpoint.remove(&before.address))?;
            }
            if before.identity != remote.identity {
                self.begin_anew(id)?;
            }
        }
        // the remote itself last: what a program finds is complete
        self.remote.set(id, remote, 0)?;
        self.endpoint.insert(remote.address, id, 0)
    }

    /// No epoch is valid: the next packet makes its own valid, with the next number for what the windows hold.
    fn begin_anew(&mut self, id: u32) -> Result<(), MapError> {
        let state = self.incarnation.get(&id, 0)?.state & !0xff;
        let fresh = Incarnation { state, previous: layout::NO_EPOCH, ..Incarnation::default() };
        self.incarnation.insert(id, fresh, 0)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_remote(&mut self, id: u32) -> Result<(), MapError> {
        gone_is_fine(self.endpoint.remove(&self.remote.get(&id, 0)?.address))?;
        self.remote.set(id, Remote::default(), 0)?;
        for class in 1..=15 {
            self.remove_class(class_key(id, class))?;
        }
        gone_is_fine(self.incarnation.remove(&id))?;
        // another node may get the id, and begins at zero
        let none = vec![Counters::default(); self.counter.get(&id, 0)?.len()];
        self.counter.set(id, PerCpuValues::try_from(none)?, 0)
    }

    fn remove_class(&mut self, key: u32) -> Result<(), MapError> {
        gone_is_fine(self.sequence.remove(&key))?;
        gone_is_fine(self.window.remove(&key))?;
        gone_is_fine(self.learned.remove(&key))?;
        gone_is_fine(self.chosen.remove(&key))
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

    /// Every counter of every remote, summed over processors; remote 0 has what cannot be laid to one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counters(&self) -> Result<BTreeMap<u32, BTreeMap<&'static str, u64>>, MapError> {
        let mut all = BTreeMap::new();
        for id in self.remote_ids()?.into_iter().chain([0]) {
            let processors = self.counter.get(&id, 0)?;
            let sum = |index: usize| processors.iter().map(|counters| counters.0[index]).sum();
            all.insert(id, layout::COUNTERS.into_iter().enumerate().map(|(index, name)| (name, sum(index))).collect());
        }
        Ok(all)
    }
}

fn by_class<V: Pod>(
    entries: impl Iterator<Item = Result<(u32, V), MapError>>,
) -> Result<BTreeMap<(u32, u8), V>, MapError> {
    entries.map(|entry| entry.map(|(key, value)| (split_class_key(key), value))).collect()
}

/// IPv4 is kept as ::ffff:a.b.c.d, its length counted from 96.
fn to_key(address: IpAddr, length: u8) -> Key<[u8; 16]> {
    match address {
        IpAddr::V4(v4) => Key::new(u32::from(length) + 96, v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => Key::new(u32::from(length), v6.octets()),
    }
}

fn from_key(key: &Key<[u8; 16]>) -> (IpAddr, u8) {
    let (length, octets) = (key.prefix_len(), key.data());
    if length >= 96 && octets[..12] == Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets()[..12] {
        let [.., a, b, c, d] = octets;
        (Ipv4Addr::new(a, b, c, d).into(), (length - 96) as u8)
    } else {
        (IpAddr::from(octets), length as u8)
    }
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
