//! A running machine with a stock kernel, on the host's own file system, which it cannot change.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use pathsteer_lab::clock;

use crate::initramfs;
use crate::job::{self, Hello, Job, Outcome};
use crate::kernel::Unpacked;
use crate::monitor;
use crate::tools::Tools;

/// Emulated it takes about 10 s; the rest is for a loaded host.
const BOOT: Duration = Duration::from_secs(180);
/// How long after a job's deadline the machine may stay silent.
const GRACE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the console in an error.
const CONSOLE_LINES: usize = 40;
/// No KVM, because there is none on most machines that run this; hence `-cpu max`, without the one instruction that
/// QEMU 7.2 announces and the emulator cannot do. The emulated clock would be distrusted anyway, after a while.
const BOARD: &str = "-M q35,memory-backend=memory -accel tcg -cpu max,-cx16 -smp 2 -m 3072M \
    -object memory-backend-memfd,id=memory,size=3072M,share=on \
    -nodefaults -no-user-config -display none -no-reboot -device virtio-serial-pci";
const COMMAND_LINE: &str =
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr edd=off tsc=unstable no_timer_check";

/// A machine. Dropping it takes its power away.
pub struct Machine {
    /// The emulator, and the server of its root.
    processes: Vec<Child>,
    wire: BufReader<UnixStream>,
    console: PathBuf,
    pub hello: Hello,
}

impl Machine {
    /// Boots `kernel`, with `program` as the one that takes orders; what it says on its console goes to `folder`. `board`
    /// tells the emulator what this one has beside what every machine has.
    ///
    /// # Errors
    /// When it does not come up: what it said last.
    pub fn boot(tools: &Tools, kernel: &Unpacked, program: &Path, folder: &Path, board: &[String]) -> Result<Machine> {
        fs::create_dir_all(folder)?;
        let file = |name: &str| folder.join(name);
        for name in ["console.log", "share.socket", "orders.socket", "monitor.socket"] {
            let _ = fs::remove_file(file(name));
        }
        let initramfs = initramfs::make(tools, kernel, program, folder)?;
        let listener = UnixListener::bind(file("orders.socket")).context("making the socket for orders")?;

        let mut share = tools.virtiofsd();
        share.arg(format!("--socket-path={}", file("share.socket").display()));
        share.args(["-o", "source=/,cache=always,sandbox=chroot", "--thread-pool-size=4"]);
        let mut processes = vec![start(&mut share, &file("share.log"))?];
        let mut qemu = tools.qemu();
        qemu.args(BOARD.split_whitespace())
            .arg("-serial")
            .arg(format!("file:{}", file("console.log").display()))
            .arg("-chardev")
            .arg(format!("socket,id=orders,path={}", file("orders.socket").display()))
            .args(["-device", &format!("virtserialport,chardev=orders,name={}", job::PORT)])
            .arg("-chardev")
            .arg(format!("socket,id=root,path={}", file("share.socket").display()))
            .args(["-device", "vhost-user-fs-pci,chardev=root,tag=root,queue-size=1024"])
            // The emulator's monitor, and a port of the machine that leads to it.
            .arg("-chardev")
            .arg(format!("socket,id=control,path={},server=on,wait=off", file("monitor.socket").display()))
            .args(["-mon", "chardev=control,mode=control"])
            .arg("-chardev")
            .arg(format!("socket,id=monitor,path={}", file("monitor.socket").display()))
            .args(["-device", &format!("virtserialport,chardev=monitor,name={}", monitor::PORT)])
            .args(board)
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", COMMAND_LINE]);
        let served = clock::wait_until(clock::now() + BOOT, LOOK, || file("share.socket").exists());
        if served {
            processes.push(start(&mut qemu, &file("qemu.log"))?);
        }
        let console = file("console.log");
        let greeted = greet(&listener, &mut processes);
        match greeted {
            Ok((wire, hello)) => Ok(Machine { processes, wire, console, hello }),
            Err(error) => {
                end(&mut processes);
                let logs = ["share.log", "qemu.log"].map(|name| fs::read_to_string(file(name)).unwrap_or_default());
                let [share, qemu] = logs;
                bail!("linux {} did not boot: {error:#}\n{share}{qemu}{}", kernel.release, tail(&console))
            }
        }
    }

    /// Runs `job` in it.
    ///
    /// # Errors
    /// When the machine has died, or does not answer in time: what it said last.
    pub fn run(&mut self, job: &Job) -> Result<Outcome> {
        let patience = Duration::from_secs(job.deadline) + GRACE;
        let answer = self.wire.get_ref().set_read_timeout(Some(patience)).map_err(anyhow::Error::from).and_then(|()| {
            job::say(&mut self.wire.get_ref(), job)?;
            job::hear(&mut self.wire)
        });
        answer.with_context(|| format!("the machine is lost; its console ends:\n{}", tail(&self.console)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.processes);
    }
}

/// Waits for the machine to call and to say its first word.
fn greet(listener: &UnixListener, processes: &mut [Child]) -> Result<(BufReader<UnixStream>, Hello)> {
    let deadline = clock::now() + BOOT;
    listener.set_nonblocking(true)?;
    let mut stream = None;
    let mut dead = None;
    clock::wait_until(deadline, LOOK, || {
        stream = listener.accept().ok();
        dead = processes.iter_mut().find_map(|process| process.try_wait().ok().flatten());
        stream.is_some() || dead.is_some()
    });
    let (stream, _) = stream.with_context(|| format!("the emulator does not run ({dead:?})"))?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(BOOT))?;
    let mut wire = BufReader::new(stream);
    let hello = job::hear(&mut wire).context("no word from it")?;
    Ok((wire, hello))
}

/// Starts `command` so that it ends with this program, however that ends.
///
/// # Errors
/// When it cannot be started.
pub fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let parent = nix::unistd::getpid();
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::other("the starter has gone"));
            }
            Ok(())
        });
    }
    command.spawn().with_context(|| format!("starting {}", command.get_program().display()))
}

fn end(processes: &mut [Child]) {
    for process in processes.iter_mut().rev() {
        // both fail only when it has ended by itself
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn tail(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
