//! The machine's side: its first process, which runs one job after another until the host hangs up.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use pathsteer_lab::clock;

use crate::job::{self, Hello, Job, Outcome};

/// First argument of the machine's first process.
pub const INIT: &str = "machine-init";
/// What jobs print goes here first.
const OUTPUT: &str = "/run/output";
/// More of a job's output than that is cut off at the beginning: the end says what failed.
const TAIL: u64 = 256 * 1024;
const LOOK: Duration = Duration::from_millis(20);

/// The life of the machine. An error goes to the console; the kernel does not outlive its first process, which is how
/// the host hears of it.
///
/// # Errors
/// When something is missing, or the host hangs up.
pub fn live() -> Result<()> {
    ensure!(std::process::id() == 1, "this is for the first process of a machine of its own");
    settle()?;
    serve()
}

/// What a distribution's own init would have done, as far as jobs need it.
fn settle() -> Result<()> {
    fs::create_dir_all("/dev/pts")?;
    fs::create_dir_all("/dev/shm")?;
    for (kind, target) in
        [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"), ("cgroup2", "/sys/fs/cgroup"), ("bpf", "/sys/fs/bpf")]
    {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {kind} on {target}"))?;
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(target, Path::new("/dev").join(name))?;
    }
    // The device node of a TUN comes with its module, and only the node could ask for the module.
    run("modprobe", &["tun"])?;
    run("ip", &["link", "set", "lo", "up"])
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} {} failed", arguments.join(" "));
    Ok(())
}

/// Takes orders.
fn serve() -> Result<()> {
    let port = OpenOptions::new().read(true).write(true).open(port()?)?;
    let (mut answers, mut orders) = (port.try_clone()?, BufReader::new(port));
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    job::say(&mut answers, &Hello { release, uptime: clock::now().as_secs_f64() })?;
    loop {
        let job: Job = job::hear(&mut orders)?;
        job::say(&mut answers, &perform(&job)?)?;
    }
}

/// The device of the port that orders come by.
///
/// # Errors
/// When there is none: this is no machine of ours.
pub fn port() -> Result<PathBuf> {
    named_port(job::PORT)
}

/// The device of the port called `name`: without udev it has no name but the one that sysfs gives.
///
/// # Errors
/// When there is none.
pub fn named_port(name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name"))?.trim() == name {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    anyhow::bail!("the machine has no port called {name}")
}

/// Runs one job, and ends whatever it leaves behind unless that stays.
fn perform(job: &Job) -> Result<Outcome> {
    let output = File::create(OUTPUT)?;
    let start = clock::now();
    let mut command = Command::new(&job.program);
    command
        .args(&job.arguments)
        .current_dir(&job.folder)
        .envs(&job.environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    let child = command.spawn().with_context(|| format!("starting {}", job.program.display()))?;
    let child = Pid::from_raw(child.id().try_into()?);
    let mut code = None;
    let ended = clock::wait_until(start + Duration::from_secs(job.deadline), LOOK, || {
        code = reap(child);
        code.is_some()
    });
    let seconds = (clock::now() - start).as_secs_f64();
    if !ended || !job.stays {
        // As the first process of this machine it spares itself alone.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while waitpid(None, None).is_ok() {}
    }
    Ok(Outcome { code: code.flatten().filter(|_| ended), seconds, output: tail()? })
}

/// Buries whoever is dead. Says how `child` ended once it has: with a code, or by a signal.
fn reap(child: Pid) -> Option<Option<i32>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(Some(code)),
            Ok(WaitStatus::Signaled(pid, ..)) if pid == child => return Some(None),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn tail() -> Result<String> {
    let mut file = File::open(OUTPUT)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
