//! Processor time of threads and processes. Where the kernel does not account interrupts apart, it includes what they
//! forward meanwhile: on veth that is the whole way of a packet.

use std::time::Duration;

use anyhow::Result;
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
