//! The monotonic clock as a `Duration` since boot: what every thread of the lab compares and sleeps by.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Time since boot.
pub fn now() -> Duration {
    // CLOCK_MONOTONIC exists on every Linux: the call has no way to fail.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// Sleeps until `at`; returns at once when it has passed.
pub fn sleep_until(at: Duration) {
    // An absolute deadline does not drift: a signal only means sleeping again towards the same one.
    let at = TimeSpec::from(at);
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at)
        == Err(nix::errno::Errno::EINTR)
    {}
}

/// Waits for `condition` to hold, looking every `every`. False when it did not until `deadline`.
pub fn wait_until(deadline: Duration, every: Duration, mut condition: impl FnMut() -> bool) -> bool {
    loop {
        if condition() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        sleep_until((now() + every).min(deadline));
    }
}
