//! The namespaces in which the whole lab lives. Their first process is an init of ours: when it ends, for whatever
//! reason, the kernel ends every process in them and frees every namespace they made. Nothing can be left behind.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{host, mounts};

/// First argument of the process that becomes the init.
pub const INIT: &str = "sandbox-init";
/// First argument of the process that does the work.
pub const INSIDE: &str = "sandbox-inside";

/// How long the sandbox lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the process that started it.
    WithStarter,
    /// Until its init is ended.
    Detached,
}

/// Starts this program again in new namespaces, with `arguments`. The child returned is the init.
/// To be called before any thread is started: the kernel asks for that.
///
/// # Errors
/// Needs root.
pub fn start(arguments: &[OsString], lifetime: Lifetime, prepare: impl FnOnce(&mut Command)) -> Result<Child> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab needs root, because it makes network namespaces: run it with sudo");
    }
    unshare(CloneFlags::CLONE_NEWPID).context("making a PID namespace")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(INIT).args(arguments);
    prepare(&mut command);
    let starter = nix::unistd::getpid();
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if lifetime == Lifetime::Detached {
                nix::unistd::setsid()?;
                return Ok(());
            }
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The starter may have died before that line. In the new PID namespace it is seen as 0 while it lives.
            if nix::unistd::getppid() != Pid::from_raw(0) && nix::unistd::getppid() != starter {
                return Err(std::io::Error::other("the starter has gone"));
            }
            Ok(())
        });
    }
    command.spawn().context("starting the sandbox")
}

/// Waits for the sandbox to end. An interrupt from the terminal ends it first.
///
/// # Errors
/// When the kernel refuses to wait.
pub fn wait(mut init: Child) -> Result<ExitStatus> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    loop {
        if let Some(status) = init.try_wait()? {
            return Ok(status);
        }
        if signals.wait()? != Signal::SIGCHLD {
            init.kill()?;
            init.wait()?;
            return Ok(ExitStatus::from_raw(Signal::SIGINT as i32));
        }
    }
}

/// The life of the init: makes the other namespaces, starts the work, reaps every orphan, ends when the work ends.
///
/// # Errors
/// When a namespace or mount is refused; the process then ends, and the sandbox with it.
pub fn init(arguments: &[OsString]) -> Result<i32> {
    // asked before the mounts are copied: in a chroot the kernel cannot say afterwards where a program of the old ones is
    let program = std::env::current_exe()?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("making namespaces")?;
    mounts::make_private()?;
    mounts::settle_in_a_chroot()?;
    mounts::release_foreign_namespaces()?;
    mounts::filesystem("proc", "/proc")?;
    mounts::filesystem("tmpfs", "/run")?;
    for folder in [host::NETNS_FOLDER, host::MOUNTS_FOLDER] {
        std::fs::create_dir_all(folder)?;
    }
    let work = Command::new(program).arg(INSIDE).args(arguments).spawn()?;
    let work = Pid::from_raw(work.id().try_into()?);
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, code) if pid == work => return Ok(code),
            WaitStatus::Signaled(pid, signal, _) if pid == work => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}
