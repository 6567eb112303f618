//! The node's two clocks: the one for people may jump, the other one only goes forward and begins with the boot.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};
use pathsteer_crds::report::Moment;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Now, by both, in whole seconds.
pub fn now() -> Moment {
    let clock = OffsetDateTime::now_utc();
    let since = clock.replace_nanosecond(0).unwrap_or(clock).format(&Rfc3339).unwrap_or_default();
    Moment { since, since_uptime: since_boot().as_secs() }
}

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
