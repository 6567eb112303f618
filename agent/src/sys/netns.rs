//! Network namespaces by name, as iproute2 keeps them: bind mounts below /run/netns.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        stat::fstat,
        statfs::{FsType, statfs},
    },
};
use tokio::task::block_in_place;

/// Where named namespaces are mounted.
const FOLDER: &str = "/run/netns";
/// `NSFS_MAGIC` of linux/magic.h: tells a mounted namespace from a file left by a half-done creation.
const NSFS: FsType = FsType(0x6e73_6673);

/// An open namespace.
#[derive(Clone)]
pub struct Netns(Arc<OwnedFd>);

/// Which namespace it is: a name may be given to another one. No other has this while somebody holds it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetnsId(u64);

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn current() -> io::Result<Self> {
        Ok(Netns(Arc::new(File::open("/proc/thread-self/ns/net")?.into())))
    }

    /// The namespace with this name.
    ///
    /// # Errors
    /// `NotFound` if there is none, or only the leftover of a half-done creation.
    pub fn open(name: &str) -> io::Result<Self> {
        let path = path_of(name);
        if !is_mounted(&path) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no network namespace {name}")));
        }
        Ok(Netns(Arc::new(File::open(path)?.into())))
    }

    /// # Errors
    /// What the kernel says.
    pub fn id(&self) -> io::Result<NetnsId> {
        Ok(NetnsId(fstat(&self.0)?.st_ino))
    }

    /// Runs `work`, system calls that do not wait for anybody, inside the namespace. The calling thread goes there and
    /// back: handing work to another thread and waiting for it takes milliseconds on a busy node, and a look does it
    /// often.
    ///
    /// # Errors
    /// What the kernel or `work` says.
    pub fn inside<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _way_back = WayBack(Netns::current()?);
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        work()
    }

    /// Runs `work`, which takes its time, on a fresh thread inside the namespace, without holding up other tasks.
    ///
    /// # Errors
    /// What the kernel or `work` says.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let fd = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            setns(fd.as_fd(), CloneFlags::CLONE_NEWNET)?;
            work()
        })?;
        block_in_place(|| thread.join())
            .map_err(|_| io::Error::other("a thread inside a network namespace panicked"))?
    }

    /// For messages that name a namespace by descriptor.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the calling thread is again when this is dropped, also if what it did elsewhere has panicked.
struct WayBack(Netns);

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.0.0, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "a thread cannot leave a network namespace");
            // whatever it did next would be done in the wrong place
            std::process::abort();
        }
    }
}

/// Names of all mounted namespaces, sorted.
///
/// # Errors
/// What the file system says; no folder means none.
pub fn list() -> io::Result<Vec<String>> {
    names(is_mounted)
}

fn names(wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let (true, Ok(name)) = (wanted(&entry.path()), entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Names of what half-done creations have left, sorted: files that nothing is mounted on.
///
/// # Errors
/// What the file system says.
pub fn half_made() -> io::Result<Vec<String>> {
    names(|path| !is_mounted(path))
}

/// Makes a namespace; one that exists stays, a half-done one is finished.
///
/// # Errors
/// What the kernel says.
pub fn create(name: &str) -> io::Result<()> {
    let path = path_of(name);
    if is_mounted(&path) {
        return Ok(());
    }
    share_folder()?;
    File::create(&path)?;
    let target = path.clone();
    // a scratch thread: the namespace is its own until the bind mount holds it
    let made = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
    })
    .join()
    .map_err(|_| io::Error::other("the thread that makes a network namespace panicked"))?;
    if made.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    made
}

/// Makes the folder a shared mount of its own, as `ip netns add` does. If it were not one, the first `ip netns add` of
/// somebody else would lay a copy of it over ours, and none of our namespaces could be removed beneath it.
fn share_folder() -> io::Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    let share = || mount(None::<&str>, FOLDER, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        // it is no mount yet
        Err(Errno::EINVAL) => {
            mount(Some(FOLDER), FOLDER, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
            Ok(share()?)
        }
        shared => Ok(shared?),
    }
}

/// Removes a namespace with what is left in it; one that is gone is fine.
///
/// # Errors
/// What the kernel says.
pub fn delete(name: &str) -> io::Result<()> {
    let path = path_of(name);
    if is_mounted(&path) {
        umount2(&path, MntFlags::MNT_DETACH)?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn is_mounted(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS)
}

/// Index of the interface with this name in the calling thread's namespace.
///
/// # Errors
/// `NotFound` if there is none.
pub fn ifindex(ifname: &str) -> io::Result<u32> {
    let name = CString::new(ifname)?;
    // SAFETY: a terminated string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
