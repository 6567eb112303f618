//! Files that a reader never sees half-written, readable by root alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::BackendError;

/// Puts `bytes` at `path`, replacing what is there in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes)?;
    std::fs::rename(beside, path)
}

/// Puts `bytes` at `path` unless something is there already; says whether it did.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let beside = write_beside(path, bytes)?;
    // A link, unlike a rename, never replaces: of two creators one wins and both then read the same file.
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock that `path` stands for and creates the file if it is missing. It is held until dropped, or until
/// the process ends in whatever way. `Ok(None)`: somebody else holds it and `argument` says not to wait.
pub(crate) fn lock(path: &Path, argument: FlockArg) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match Flock::lock(file, argument) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Keeps every other agent from changing the slot's devices meanwhile; makes `run_dir` when it is missing.
pub(crate) fn turn(run_dir: &Path, slot: u8) -> Result<Flock<File>, BackendError> {
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(run_dir);
    folder.map_err(|source| BackendError::File { path: run_dir.to_owned(), source })?;
    let path = run_dir.join(format!("slot{slot}.agent.lock"));
    let turn = lock(&path, FlockArg::LockExclusive).and_then(|lock| lock.ok_or(io::ErrorKind::WouldBlock.into()));
    turn.map_err(|source| BackendError::File { path, source })
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}-{:?}", std::process::id(), std::thread::current().id()));
    let beside = path.with_file_name(name);
    // Left behind by a process with our id that died here.
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // Nobody else would ever remove it from a full disk.
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    Ok(beside)
}
