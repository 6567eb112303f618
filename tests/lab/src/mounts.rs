//! A node's own view of the file system, held by the lab: namespaces, pins and keys in it outlive an agent that dies.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::netns::Namespace;

/// Makes a mount namespace in which `/etc` and `/var/lib` are writable copies (kept below `store`), `/run` and
/// `/run/netns` are empty, `/sys` shows `net`, and `/sys/fs/bpf` is a bpffs of the node's own.
///
/// # Errors
/// When the kernel lacks overlayfs or bpffs, or refuses a mount.
pub fn node_view(net: &Namespace, store: &Path) -> Result<File> {
    net.run(|| {
        unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace needs root")?;
        make_private()?;
        for (folder, name) in [("/etc", "etc"), ("/var/lib", "var-lib")] {
            overlay(folder, &store.join(name))?;
        }
        // Only now, because `store` itself lies below /run.
        filesystem("tmpfs", "/run")?;
        fs::create_dir_all("/run/netns")?;
        filesystem("sysfs", "/sys")?;
        filesystem("bpf", "/sys/fs/bpf")?;
        for folder in ["/etc/pathsteer", "/var/lib/pathsteer"] {
            fs::create_dir_all(folder)?;
        }
        Ok(File::open("/proc/thread-self/ns/mnt")?)
    })
}

/// From here on mounts stay in this mount namespace, and none comes in from outside.
pub(crate) fn make_private() -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making mounts private")
}

/// Lets go of the namespaces that others have mounted: our copies of those mounts would keep them alive.
pub(crate) fn release_foreign_namespaces() -> Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        // Fields before ` - ` include the mount point as the fifth, the first one after it is the type (proc(5)).
        let Some((fields, kind)) = line.split_once(" - ") else { continue };
        if let (true, Some(point)) = (kind.starts_with("nsfs "), fields.split(' ').nth(4)) {
            umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {point}"))?;
        }
    }
    Ok(())
}

/// Mounts a fresh `kind` file system on `target`.
pub(crate) fn filesystem(kind: &str, target: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {kind} on {target}"))
}

/// `folder` stays readable as it is; what is written to it goes to `store`.
fn overlay(folder: &str, store: &Path) -> Result<()> {
    let (upper, work) = (store.join("upper"), store.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mounting an overlay on {folder}"))
}

/// Makes this process's root the root of its (new, private) mount namespace, if it is not: in a chroot, whoever enters
/// the namespace later would otherwise find himself outside of it.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn settle_in_a_chroot() -> Result<()> {
    let identity = || std::fs::metadata("/").map(|root| (root.dev(), root.ino()));
    let (folder, own) = (std::env::current_dir()?, identity()?);
    let root = File::open("/")?;
    let namespace = File::open("/proc/thread-self/ns/mnt").context("opening the mount namespace")?;
    // entering a mount namespace, even one's own, leads to its root
    setns(&namespace, CloneFlags::CLONE_NEWNS).context("leaving the chroot")?;
    if identity()? != own {
        nix::unistd::fchdir(&root)?;
        mount(Some("."), "/", None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .context("moving the chroot to the root")?;
        setns(&namespace, CloneFlags::CLONE_NEWNS).context("entering the new root")?;
    }
    std::env::set_current_dir(folder)?;
    Ok(())
}
