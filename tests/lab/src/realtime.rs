//! How a thread of the lab gets its processor in time: measuring must not be what loses packets.

/// Links go first: a late link would look like a slow WAN.
pub const LINK: i32 = 30;
/// The hiccup meter watches the machine, not the links.
pub const METER: i32 = 20;
/// Senders keep their pace while the system under test is busy.
pub const SENDER: i32 = 10;

/// Makes the calling thread SCHED_FIFO with `priority` (1-99), and lets it wake within a microsecond of its timers.
/// What it forks goes back to the ordinary policy. Where the kernel refuses, the thread stays as it is: the hiccup
/// meter shows what that costs.
pub fn claim(priority: i32) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: both calls read their arguments only; `parameters` outlives the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}

/// The processors this process may run on.
///
/// # Errors
/// When the kernel does not say.
pub fn processors() -> nix::Result<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    Ok((0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect())
}

/// Keeps the calling thread on processor `cpu`.
///
/// # Errors
/// When it is none of [`processors`].
pub fn pin(cpu: usize) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
}
