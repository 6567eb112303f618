//! A host of the lab: a network namespace, and for nodes a mount namespace, in which commands and threads run.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

use crate::mounts;
use crate::netns::Namespace;

/// Where hosts' network namespaces are published, for `ip netns`.
pub const NETNS_FOLDER: &str = "/run/netns";
/// Where links to nodes' mount namespaces are, for `pathsteer-lab enter`.
pub const MOUNTS_FOLDER: &str = "/run/lab/mounts";
/// Where nodes' files are kept.
const NODES_FOLDER: &str = "/run/lab/nodes";

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: &'static str,
    pub net: Namespace,
    mounts: Option<Arc<File>>,
}

impl Host {
    /// A host that only forwards or talks: it shares the lab's files.
    ///
    /// # Errors
    /// Needs root.
    pub fn new(name: &'static str) -> Result<Self> {
        let host = Host { name, net: Namespace::new()?, mounts: None };
        host.sysctl(&[
            // The hosts' own replies must not depend on what the machine around the lab has configured.
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            // Addresses are usable at once, without the second that duplicate address detection takes.
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            // From 50,000 on ports are chosen by name: nobody who just wants any shall have one of them.
            ("net/ipv4/ip_local_port_range", "32768 49999"),
        ])?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The very machine, or sandbox, that this program runs in, with its own network and files.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn own(name: &'static str) -> Result<Self> {
        Ok(Host { name, net: File::open("/proc/thread-self/ns/net")?.into(), mounts: None })
    }

    /// A host that runs our programs: its files are its own.
    ///
    /// # Errors
    /// Needs root and a private `/run`, which the sandbox gives.
    pub fn node(name: &'static str) -> Result<Self> {
        let mut host = Host::new(name)?;
        host.mounts = Some(Arc::new(mounts::node_view(&host.net, &Path::new(NODES_FOLDER).join(name))?));
        Ok(host)
    }

    /// Gives the host's namespaces names in the file system.
    ///
    /// # Errors
    /// When the folders are missing.
    pub fn publish(&self) -> Result<()> {
        self.net.publish(&Path::new(NETNS_FOLDER).join(self.name))?;
        match &self.mounts {
            Some(mounts) => {
                // Not a bind mount: 6.18 numbers mount namespaces per processor and then takes an older one for a
                // younger, which it refuses to bind.
                let file = format!("/proc/{}/fd/{}", std::process::id(), mounts.as_raw_fd());
                Ok(std::os::unix::fs::symlink(file, Path::new(MOUNTS_FOLDER).join(self.name))?)
            }
            None => Ok(()),
        }
    }

    /// A command that will run in the host, in the caller's working directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let net = Arc::clone(self.net.file());
        let mounts = self.mounts.clone();
        let folder = std::env::current_dir().ok().and_then(|f| CString::new(f.as_os_str().as_bytes()).ok());
        // SAFETY: between fork and exec only system calls are made; the memory they read was allocated before.
        unsafe {
            command.pre_exec(move || {
                setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
                if let Some(mounts) = &mounts {
                    setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
                    // Entering a mount namespace leads to its root directory.
                    if let Some(folder) = &folder {
                        libc::chdir(folder.as_ptr());
                    }
                }
                Ok(())
            });
        }
        command
    }

    /// Runs `program` to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails; its stderr is in the message.
    pub fn output(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String> {
        self.feed(program, arguments, "")
    }

    /// Carries out the lines of `batch` with iproute2.
    ///
    /// # Errors
    /// The first line that failed, with its reason.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], batch).map(drop)
    }

    /// Loads an nft ruleset.
    ///
    /// # Errors
    /// When nft refuses it.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], ruleset).map(drop)
    }

    /// Processes whose command line contains every one of `words` and that see this host's files: nodes only.
    pub fn processes(&self, words: &[&str]) -> Vec<u32> {
        let Some(ours) = self.mounts.as_ref().and_then(|mounts| mounts.metadata().ok()) else { return Vec::new() };
        let is_ours = |folder: &Path| {
            let view = std::fs::metadata(folder.join("ns/mnt"));
            let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            view.is_ok_and(|view| view.ino() == ours.ino()) && words.iter().all(|word| line.contains(word))
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter(|entry| is_ours(&entry.path()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Writes keys below `/proc/sys`.
    ///
    /// # Errors
    /// The first key that could not be written.
    pub fn sysctl(&self, keys: &[(&str, &str)]) -> Result<()> {
        self.net.run(|| {
            for (key, value) in keys {
                std::fs::write(Path::new("/proc/sys").join(key), value).with_context(|| format!("writing {key}"))?;
            }
            Ok(())
        })
    }

    /// Makes the host a router.
    ///
    /// # Errors
    /// When a key could not be written.
    pub fn forward(&self) -> Result<()> {
        self.sysctl(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")])
    }

    /// Runs `work` on a thread that sees the host's network and files.
    ///
    /// # Errors
    /// What `work` returns, or that a namespace could not be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.net.run(|| {
            if let Some(mounts) = &self.mounts {
                // A thread shares its root directory with the process until it says otherwise.
                unshare(CloneFlags::CLONE_FS)?;
                setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS).context("entering a mount namespace")?;
            }
            work()
        })
    }

    /// The network namespace that the programs on this node have made and called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        self.inside(|| {
            let path = format!("{NETNS_FOLDER}/{name}");
            Ok(File::open(&path).with_context(|| format!("opening {path} on {}", self.name))?.into())
        })
    }

    /// # Errors
    /// When the host has no such file.
    pub fn read(&self, path: &str) -> Result<String> {
        self.inside(|| std::fs::read_to_string(path).with_context(|| format!("reading {path} on {}", self.name)))
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        self.inside(|| std::fs::write(path, text).with_context(|| format!("writing {path} on {}", self.name)))
    }

    fn feed(&self, program: impl AsRef<OsStr>, arguments: &[&str], input: &str) -> Result<String> {
        let name = program.as_ref().to_string_lossy().into_owned();
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{name}` on {}", self.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends before it has read everything says why on stderr.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "`{name} {}` on {} failed ({}): {}",
                arguments.join(" "),
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
