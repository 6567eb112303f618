//! Opening the datapath: load the programs, adopt or make the pinned maps.

use std::path::{Path, PathBuf};

use aya::{EbpfLoader, maps::MapError, programs::ProgramError};

use crate::{
    OBJECT,
    attach::{self, HOOK_VARIABLE, Hook},
    layout, maps,
    maps::Maps,
    program::Programs,
};

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
    #[error("BPF filter: {0}")]
    Filter(#[source] std::io::Error),
    #[error("{HOOK_VARIABLE} is `{0}`: leave it out, or name tcx or clsact")]
    Hook(String),
    #[error("cannot pin: {0}")]
    Pin(#[from] aya::pin::PinError),
    #[error("the BPF object has no {0}: it was built from other sources")]
    Missing(&'static str),
}

/// Folder of the attachments' pins.
pub(crate) const LINKS: &str = "links";

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
        Datapath::open_with(bpffs, Hook::of_this_kernel()?)
    }

    /// The same, for programs that are attached by `hook`.
    ///
    /// # Errors
    /// As above.
    pub fn open_with(bpffs: &Path, hook: Hook) -> Result<Self, Error> {
        let folder = folder(bpffs);
        for path in [folder.clone(), folder.join(LINKS)] {
            std::fs::create_dir_all(&path).map_err(|source| Error::Folder { path, source })?;
        }
        let mut loader = EbpfLoader::new();
        for name in maps::NAMES {
            loader.map_pin_path(name, folder.join(name));
        }
        Datapath::load(&mut loader, folder.join(LINKS), hook)
    }

    /// A datapath of which nothing is pinned: it ends with the value.
    ///
    /// # Errors
    /// No permission, or a kernel that refuses the programs.
    pub(crate) fn scratch() -> Result<Self, Error> {
        Datapath::load(&mut EbpfLoader::new(), PathBuf::new(), Hook::Clsact)
    }

    fn load(loader: &mut EbpfLoader, links: PathBuf, hook: Hook) -> Result<Self, Error> {
        let mut object = loader.load(OBJECT)?;
        let maps = Maps::take(&mut object)?;
        let programs = Programs::load(object, links, hook)?;
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
    is_whole(&folder(bpffs))
}

pub(crate) fn is_whole(folder: &Path) -> bool {
    maps::NAMES.iter().all(|name| folder.join(name).exists())
}

/// Whether the attachment pinned as `pin` under `bpffs` is there. Without its pin
/// nothing holds a program on its link (tcx), or nobody knows of it (clsact).
pub fn is_attachment_pinned(bpffs: &Path, pin: &str) -> bool {
    attach::is_pinned(&folder(bpffs).join(LINKS).join(pin))
}

/// Removes every pin of ours: sequences and windows are gone, programs detach, but for those that are filters of an
/// interface: they go with it.
///
/// # Errors
/// What the file system says; nothing pinned is fine.
pub fn unpin_all(bpffs: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(bpffs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn folder(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{}", layout::LAYOUT))
}
