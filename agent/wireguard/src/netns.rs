//! Network namespaces by name, and short visits to them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};

/// A namespace held open.
pub(crate) struct Netns(File);

/// Which namespace it is: a name may be given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetnsId {
    device: u64,
    inode: u64,
}

impl Netns {
    /// The namespace `name` below `/run/netns`; empty is the one this process was started in.
    pub(crate) fn open(name: &str) -> io::Result<Netns> {
        let file = if name.is_empty() {
            // The main thread's: only threads made for it ever enter another namespace.
            File::open("/proc/self/ns/net")?
        } else {
            File::open(format!("/run/netns/{name}"))?
        };
        Ok(Netns(file))
    }

    pub(crate) fn id(&self) -> io::Result<NetnsId> {
        let metadata = self.0.metadata()?;
        Ok(NetnsId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Runs `visit` inside the namespace, on a thread that ends afterwards. Sockets and TUNs opened there belong to
    /// the namespace and may be used from anywhere.
    ///
    /// # Errors
    /// The namespace cannot be entered (root is needed), or `visit` fails.
    pub(crate) fn visit<T: Send, E: Send + From<io::Error>>(
        &self,
        visit: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("netns-visit".into())
                .spawn_scoped(scope, || {
                    setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                    visit()
                })?
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace panicked").into()))
        })
    }
}
