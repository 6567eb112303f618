//! Files and folders only their owner can read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes `path` and what is above it; `path` itself gets mode 0700 even if it was there.
///
/// # Errors
/// As the file system says.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes `text` to `path` with mode 0600, whole or not at all.
///
/// # Errors
/// As the file system says.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    let written = written();
    if written.is_err() {
        // On a full disk half a file takes room that others need.
        drop(fs::remove_file(&fresh));
    }
    written
}
