//! Opening the datapath: load the programs, adopt or make the pinned maps.

use std::path::{Path, PathBuf};

use aya::{EbpfLoader, maps::MapError, programs::ProgramError};

use crate::{OBJECT, layout, maps, maps::Maps, program::Programs};

/// Why the datapath could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make {path}: is a bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the kernel refused the BPF object: {0}")]
    Load(#[from] aya::EbpfError),
    #[error("BPF map: {0}")]
    Map(#[from] MapError),
    #[error("BPF program: {0}")]
    Program(#[from] ProgramError),
    #[error("BPF link: {0}")]
    Link(#[from] aya::programs::links::LinkError),
    #[error("cannot pin: {0}")]
    Pin(#[from] aya::pin::PinError),
    #[error("the BPF object has no {0}: it was built from other sources")]
    Missing(&'static str),
}

/// Folder of the attachments' pins.
const LINKS: &str = "links";

/// Programs and maps of one node.
pub struct Datapath {
    pub maps: Maps,
    pub programs: Programs,
}

impl Datapath {
    /// Opens the datapath under `bpffs` (such as `/sys/fs/bpf/pathsteer`), adopting what is pinned there. What is not
    /// pinned begins afresh: unless [`is_pinned`] says that nothing does, the epoch has to be advanced before.
    ///
    /// # Errors
    /// No bpffs, no permission, or a kernel that refuses the programs.
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        let folder = folder(bpffs);
        for path in [folder.clone(), folder.join(LINKS)] {
            std::fs::create_dir_all(&path).map_err(|source| Error::Folder { path, source })?;
        }
        let mut object = EbpfLoader::new().default_map_pin_directory(&folder).load(OBJECT)?;
        let maps = Maps::take(&mut object)?;
        let programs = Programs::load(object, folder.join(LINKS))?;
        Ok(Datapath { maps, programs })
    }

    /// Opens the datapath if all of it is pinned under `bpffs`; makes nothing.
    ///
    /// # Errors
    /// No permission, or a kernel that refuses the programs.
    pub fn adopt(bpffs: &Path) -> Result<Option<Self>, Error> {
        if is_pinned(bpffs) { Datapath::open(bpffs).map(Some) } else { Ok(None) }
    }
}

/// Whether every map has its pin under `bpffs`. A datapath that lost some works on, but nobody can open it again: the
/// next to open would make others in their place.
pub fn is_pinned(bpffs: &Path) -> bool {
    let folder = folder(bpffs);
    maps::NAMES.iter().all(|name| folder.join(name).exists())
}

/// Whether the attachment pinned as `pin` under `bpffs` is there. Without its pin nothing holds a program on its link.
pub fn is_attachment_pinned(bpffs: &Path, pin: &str) -> bool {
    folder(bpffs).join(LINKS).join(pin).exists()
}

/// Removes every pin of ours: programs detach, sequences and windows are gone.
///
/// # Errors
/// What the file system says; nothing pinned is fine.
pub fn unpin_all(bpffs: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(bpffs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn folder(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{}", layout::LAYOUT))
}
