//! Network namespaces, held by a file descriptor: they live as long as somebody holds or inhabits them.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
}

impl From<File> for Namespace {
    /// The namespace that the open `file` stands for.
    fn from(file: File) -> Self {
        Namespace { file: Arc::new(file) }
    }
}

impl Namespace {
    /// A new namespace with nothing but a loopback interface that is down.
    ///
    /// # Errors
    /// Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Self> {
        // A thread may leave for a namespace of its own; the others stay where they are.
        let file = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        })
        .join()
        .map_err(|_| anyhow!("the thread that made a namespace panicked"))??;
        Ok(file.into())
    }

    /// Gives the namespace a name in the file system, as `ip netns` does it.
    ///
    /// # Errors
    /// When `path` cannot be made or mounted on.
    pub fn publish(&self, path: &Path) -> Result<()> {
        File::create(path).with_context(|| format!("making {}", path.display()))?;
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("binding a namespace to {}", path.display()))
    }

    /// The file that stands for the namespace.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Moves the calling thread, and no other, into the namespace.
    ///
    /// # Errors
    /// Needs CAP_SYS_ADMIN.
    pub fn enter(&self) -> Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).context("entering a network namespace")
    }

    /// Runs `work` in the namespace and waits for it.
    ///
    /// # Errors
    /// What `work` returns, or that the namespace could not be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread inside a namespace panicked")))
        })
    }

    /// Starts a thread that does `work` in the namespace.
    ///
    /// # Errors
    /// When no thread could be started.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.clone();
        Ok(std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            namespace.enter()?;
            work()
        })?)
    }
}

/// The outcome of a thread that was started by [`Namespace::thread`].
///
/// # Errors
/// What the thread returned, or that it panicked.
pub fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of the lab panicked")))
}
