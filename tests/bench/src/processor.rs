//! What threads and processes take: memory, and processor time. Where the kernel does not account interrupts apart, it includes what they
//! forward meanwhile: on veth that is the whole way of a packet.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread so far.
///
/// # Errors
/// When the kernel does not say.
pub fn of_this_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Processor time of all threads of `processes` so far.
///
/// # Errors
/// When one of them has ended.
pub fn of(processes: &[u32]) -> Result<Duration> {
    let mut total = 0;
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            // proc(5): time spent on the processor in nanoseconds comes first
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            total += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(total))
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
