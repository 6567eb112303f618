//! The etcd program this operator carries inside itself.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pathsteer_crds::canonical;

/// Version of the etcd carried along; part of the file name, so that an upgrade never runs the old one.
pub const VERSION: &str = "3.7.2";

/// SHA-256 of that etcd, computed from the crate etcd-bin-vendored 3.7.2.
#[cfg(target_arch = "x86_64")]
const SHA256: &str = "7a0c00e4ee33bea9bdec0c8abd771ef4e1685deb134a17cf58c11985d2fe51ca";
#[cfg(target_arch = "aarch64")]
const SHA256: &str = "17122293e6713e3d8b14b33964af8f6eae0a83af03e87487f34731ee0e28112d";

/// Included, because an installed operator has no cargo registry to find it in.
static PROGRAM: &[u8] = include_bytes!(env!("PATHSTEER_ETCD"));

/// Why there is no etcd to run.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("cannot write etcd to {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("the etcd inside this program hashes to {found}, expected {SHA256}: it was built from something else")]
    Foreign { found: String },
}

/// The path of an executable etcd below `folder`, written there unless it already is.
///
/// # Errors
/// The file cannot be written, or the program carried along is not the one whose hash is pinned here.
pub fn install(folder: &Path) -> Result<PathBuf, BinaryError> {
    let path = folder.join(format!("etcd-{VERSION}"));
    if fs::read(&path).is_ok_and(|found| canonical::sha256(&found) == SHA256) {
        return Ok(path);
    }
    let found = canonical::sha256(PROGRAM);
    if found != SHA256 {
        return Err(BinaryError::Foreign { found });
    }
    // Written beside and renamed: a crash half way leaves no half program under the final name, and a running etcd
    // of that name is not written over (that would be "text file busy").
    let fresh = folder.join("etcd.new");
    let write = || {
        fs::write(&fresh, PROGRAM)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700))?;
        fs::rename(&fresh, &path)
    };
    write().map_err(|source| BinaryError::Write { path: path.clone(), source })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_program_is_replaced_by_the_one_whose_hash_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let path = install(folder.path()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(install(folder.path()).unwrap(), path);
        assert_eq!(canonical::sha256(&fs::read(&path).unwrap()), SHA256);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
