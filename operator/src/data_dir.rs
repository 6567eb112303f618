//! The operator's data folder, and who may use it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::pki::private_file;

/// Where a restore puts together what it brings, below the data folder; gone when it is finished.
pub const RESTORING: &str = "restoring";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot use {path}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("another operator runs with --data-dir {0}")]
    Taken(PathBuf),
    #[error("a restore into {0} was not finished: repeat it with --replace")]
    Unfinished(PathBuf),
}

/// Makes the folder if need be, and keeps others away for as long as the result lives: two operators would fight over
/// its etcd. The lock goes with the process, however it ends.
///
/// # Errors
/// An operator runs with it, or it cannot be written.
pub fn lock(data_dir: &Path) -> Result<File, DataDirError> {
    let unusable = |source| DataDirError::Unusable { path: data_dir.to_owned(), source };
    private_file::folder(data_dir).map_err(unusable)?;
    let file = File::create(data_dir.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::Taken(data_dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// The same, for whoever works with what is in the folder: not while a restore has left it half done.
///
/// # Errors
/// As of [`lock`]; a restore was not finished.
pub fn lock_whole(data_dir: &Path) -> Result<File, DataDirError> {
    let file = lock(data_dir)?;
    if data_dir.join(RESTORING).exists() {
        return Err(DataDirError::Unfinished(data_dir.to_owned()));
    }
    Ok(file)
}
