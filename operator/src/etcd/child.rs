//! The private etcd as a child process: started, restarted when it dies, ended with the operator.
//!
//! One thread spawns the child and waits for it, for as long as the operator lives: the kernel sends the
//! parent-death signal when the *thread* that spawned exits, so a pool thread would not do.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tracing::{info, warn};

/// Pause before the first restart; doubled up to [`LONGEST_PAUSE`], so that a broken disk does not spin a core.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A child that lived this long was healthy: the next restart begins with the first pause again.
const HEALTHY: Duration = Duration::from_secs(30);
/// What etcd has said is thrown away beyond this, bytes, when it is started again: one that cannot live would fill the disk
/// with it.
const LARGEST_LOG: u64 = 1 << 20;
/// How long etcd may take to end by itself before it is killed. Its log survives a kill.
const GRACE: Duration = Duration::from_secs(5);

/// What to run, and where its output goes.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub log: PathBuf,
}

/// A supervised child. Ends it when dropped.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Valid while it is here: it is cleared under the lock before the child is reaped.
    pid: Option<Pid>,
    stopping: bool,
}

impl Supervised {
    /// Starts `program` and the thread that keeps it running.
    ///
    /// # Errors
    /// The thread cannot be started. A child that cannot be started is tried again and logged.
    pub fn start(program: Program) -> io::Result<Supervised> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("etcd".into()).spawn({
            let shared = Arc::clone(&shared);
            move || supervise(&program, &shared)
        })?;
        Ok(Supervised { shared, thread: Some(thread) })
    }

    /// Ends the child: SIGTERM, SIGKILL after five seconds. Blocks until it is gone.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.changed.notify_all();
        signal(&state, Signal::SIGTERM);
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, GRACE, |state| state.pid.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            signal(&state, Signal::SIGKILL);
        }
        drop(state);
        if thread.join().is_err() {
            warn!("the thread that keeps etcd running ended badly");
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits out `pause` unless told to stop; whether to stop.
    fn paused(&self, pause: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), pause, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

fn signal(state: &State, signal: Signal) {
    if let Some(pid) = state.pid
        && let Err(error) = kill(pid, signal)
    {
        warn!(%pid, %signal, %error, "etcd cannot be signalled");
    }
}

fn supervise(program: &Program, shared: &Shared) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = std::time::Instant::now();
        match spawn(program, shared) {
            Ok(Some(child)) => wait(child, shared),
            Ok(None) => return,
            Err(error) => warn!(%error, path = %program.path.display(), "etcd cannot be started"),
        }
        if started.elapsed() >= HEALTHY {
            pause = FIRST_PAUSE;
        }
        if shared.paused(pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Starts the child under the lock, so that a stop either prevents it or sees its pid. None: stopping.
fn spawn(program: &Program, shared: &Shared) -> io::Result<Option<Child>> {
    let mut state = shared.lock();
    if state.stopping {
        return Ok(None);
    }
    let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
    if log.metadata()?.len() > LARGEST_LOG {
        log.set_len(0)?;
    }
    let operator = std::process::id();
    let mut command = Command::new(&program.path);
    // No variable of the operator's reaches etcd: ETCD_* would be read as settings.
    command.args(&program.arguments).env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: between fork and exec only two system calls are made; neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The operator may have died before the line above took effect.
            if nix::unistd::getppid().as_raw() as u32 != operator {
                return Err(io::ErrorKind::NotConnected.into());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    info!(pid = child.id(), "etcd started");
    state.pid = Some(Pid::from_raw(child.id() as i32));
    Ok(Some(child))
}

fn wait(mut child: Child, shared: &Shared) {
    let pid = Pid::from_raw(child.id() as i32);
    // Left as a zombie, the pid belongs to nobody else until it is cleared under the lock.
    while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
    let mut state = shared.lock();
    state.pid = None;
    let ended = child.wait();
    if state.stopping {
        info!(?ended, "etcd ended");
    } else {
        warn!(?ended, "etcd ended, it will be started again");
    }
    shared.changed.notify_all();
}
