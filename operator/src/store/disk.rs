//! The disk that a private etcd lives on. etcd ends when it cannot write there, and does not come up before it can.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// etcd reserves its log in files of 64 MB, one ahead. With less it ends as soon as one is used up, if not before.
const LOG_FILE: u64 = 64_000_000;

/// There is no room for etcd to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the disk that holds {} is full, less than 64 MB are left", folder.display())]
pub struct DiskFull {
    folder: PathBuf,
}

impl DiskFull {
    /// What people are told while it is.
    pub fn advice(&self) -> String {
        format!(
            "{self}: etcd ends when it cannot write there, then writes are refused and reads go on; make room, and all goes \
             on by itself"
        )
    }
}

/// Where a private etcd keeps its data.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The one that holds `folder`.
    pub fn of(folder: &Path) -> Disk {
        // A relative path tells a person who reads it elsewhere nothing.
        Disk { folder: folder.canonicalize().unwrap_or_else(|_| folder.to_owned()) }
    }

    /// # Errors
    /// It is full. A disk that cannot be asked is not: whoever writes to it will notice.
    pub fn check(&self) -> Result<(), DiskFull> {
        match statvfs(&self.folder) {
            Ok(disk) if disk.blocks_available().saturating_mul(disk.fragment_size()) < LOG_FILE => {
                Err(DiskFull { folder: self.folder.clone() })
            }
            _ => Ok(()),
        }
    }
}
