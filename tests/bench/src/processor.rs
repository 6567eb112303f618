//! What threads and processes take: memory, and processor time. Where the kernel does not account interrupts apart, it includes what they
//! forward meanwhile: on veth that is the whole way of a packet.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Processor time of the calling thread so far.
///
/// # Errors
/// When the kernel does not say.
pub fn of_this_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Processor time of all threads of `processes` so far, of those that have ended too.
///
/// # Errors
/// When a process has ended.
pub fn of(processes: &[u32]) -> Result<Duration> {
    let of_one = |process: &u32| {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(*process)?))?;
        Ok(Duration::from(clock_gettime(clock)?))
    };
    processes.iter().map(of_one).sum()
}

/// Resident bytes of a process.
///
/// # Errors
/// When it has ended.
pub fn resident(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    Ok(kib.context("the kernel does not tell a process's memory")?.trim().parse::<u64>()? * 1_024)
}
