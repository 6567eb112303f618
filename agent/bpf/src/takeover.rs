//! What another version has pinned, in a folder of its own: taken over where it fits, else followed without a gap.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    EbpfLoader, Pod,
    maps::{Array, Map, MapData},
};

use crate::{
    Error, OBJECT,
    attach::gone_is_fine,
    datapath::{LINKS, folder, is_whole},
    layout::{Chosen, Learned},
    maps,
};

/// By which paths packets went, by [`crate::layout::class_key`]: as the agent chose at an edge, as the packets taught an
/// anchor.
#[derive(Default)]
pub struct Ways {
    pub(crate) chosen: Vec<(u32, Chosen)>,
    pub(crate) learned: Vec<(u32, Learned)>,
}

/// Takes over the maps and attachments of another layout if every map looks as this build's does: then nothing begins anew.
/// Says whether it did. Maps whose entries come to mean something else need another name, or another size.
///
/// # Errors
/// What the kernel says.
pub fn take_over(bpffs: &Path) -> Result<bool, Error> {
    let own = folder(bpffs);
    for other in others(bpffs)? {
        if is_whole(&other) && fits(&other)? {
            gone_is_fine(std::fs::remove_dir_all(&own), &own)?;
            std::fs::rename(&other, &own).map_err(|source| Error::Folder { path: own.clone(), source })?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes way for new maps: removes what pins the old ones. Attachments keep their pins, so that the programs that run go on
/// with the maps they have until each is exchanged. Returns by which paths they send, for the new maps.
///
/// # Errors
/// What the file system says.
pub fn begin_anew(bpffs: &Path) -> Result<Ways, Error> {
    let own = folder(bpffs);
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    let mut ways = Ways::default();
    for old in [own.clone()].into_iter().chain(others(bpffs)?).filter(|folder| folder.exists()) {
        if ways.chosen.is_empty() && ways.learned.is_empty() {
            ways = Ways { chosen: entries(&old, "ps_chosen"), learned: entries(&old, "ps_learned") };
        }
        let (links, kept) = (old.join(LINKS), own.join(LINKS));
        if old != own && links.exists() && !kept.exists() {
            std::fs::create_dir_all(&own).map_err(fail(&own))?;
            std::fs::rename(&links, &kept).map_err(fail(&kept))?;
        }
        for name in maps::NAMES {
            let pin = old.join(name);
            gone_is_fine(std::fs::remove_file(&pin), &pin)?;
        }
        if old != own {
            std::fs::remove_dir_all(&old).map_err(fail(&old))?;
        }
    }
    Ok(ways)
}

/// Folders of other layouts, the latest first.
fn others(bpffs: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(bpffs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| Error::Folder { path: bpffs.to_owned(), source })?,
    };
    let numbered = entries.flatten().filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.strip_prefix('v')?.parse().ok()?;
        Some((number, entry.path()))
    });
    let mut others: Vec<_> = numbered.filter(|(_, path)| *path != folder(bpffs)).collect();
    others.sort_unstable_by(|one, other| other.cmp(one));
    Ok(others.into_iter().map(|(_, path)| path).collect())
}

/// Whether the maps pinned in `folder` look as this build's do.
fn fits(folder: &Path) -> Result<bool, Error> {
    // The loader makes its maps to show how they look; they end with it.
    let object = EbpfLoader::new().load(OBJECT)?;
    for name in maps::NAMES {
        let own = object.map(name).and_then(data).ok_or(Error::Missing(name))?;
        if shape(own)? != shape(&MapData::from_pin(folder.join(name))?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Type, sizes of key and value, room and flags.
fn shape(map: &MapData) -> Result<(u32, u32, u32, u32, u32), Error> {
    let info = map.info()?;
    let kind = info.map_type()? as u32;
    Ok((kind, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()))
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::ArrayOfMaps(data)
        | Map::HashOfMaps(data) => Some(data),
        _ => None,
    }
}

/// What is not zero in the array pinned as `name` in `folder`; nothing if that looks otherwise.
fn entries<V: Pod + Default + PartialEq>(folder: &Path, name: &str) -> Vec<(u32, V)> {
    let read = || -> Option<Vec<(u32, V)>> {
        let map = Map::from_map_data(MapData::from_pin(folder.join(name)).ok()?).ok()?;
        let array: Array<MapData, V> = map.try_into().ok()?;
        let all = (0..array.len()).filter_map(|key| Some((key, array.get(&key, 0).ok()?)));
        Some(all.filter(|(_, value)| *value != V::default()).collect())
    };
    read().unwrap_or_default()
}
