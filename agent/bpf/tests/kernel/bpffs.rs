//! A bpffs of one test alone.

use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Gone, with everything pinned on it, when the test ends.
pub struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        Bpffs(folder)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("pathsteer")
    }

    /// Where the attachment called `pin` is pinned.
    pub fn pin_of_link(&self, pin: &str) -> PathBuf {
        self.path().join(format!("v{}/links/{pin}", pathsteer_bpf::layout::LAYOUT))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
