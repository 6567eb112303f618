//! A folder on a disk that is made afresh and goes with its owner.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder.
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// The disk.
    pub fn new(path: &Path) -> Result<Folder> {
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
        std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Folder(path.canonicalize()?))
    }

    /// Its full path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
