//! Time that nobody sets.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// Time since the machine booted, with the time it slept. A new boot begins anew; see [`boot_id`].
pub fn since_boot() -> Duration {
    // The clock is there since Linux 2.6.39; without it nothing would ever expire.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Names this boot: times of another one mean nothing.
///
/// # Errors
/// There is no `/proc`.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
