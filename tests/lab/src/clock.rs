//! The monotonic clock as a `Duration` since boot: what every thread of the lab compares and sleeps by.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
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

/// How many times longer than elsewhere a condition is waited for. An emulated machine is ten times slower.
static PATIENCE: LazyLock<u32> =
    LazyLock::new(|| std::env::var("PATHSTEER_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1));

/// As many times `usual` as the environment's `PATHSTEER_PATIENCE` says.
pub fn patience(usual: Duration) -> Duration {
    usual * *PATIENCE
}

/// Waits for `condition` to hold, looking every `every`. False when it did not until `deadline`, which is as far away as
/// [`patience`] makes it.
pub fn wait_until(deadline: Duration, every: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = now();
    let deadline = begin + patience(deadline.saturating_sub(begin));
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

/// Waits at most `usual`, or as much longer as [`patience`] says, until `condition` holds; `what` says what it is.
///
/// # Errors
/// What it said last, or that it still did not hold.
pub fn wait_for(
    what: &str,
    usual: Duration,
    every: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut last = Ok(false);
    let met = wait_until(now() + usual, every, || {
        last = condition();
        matches!(last, Ok(true))
    });
    if !met {
        last.with_context(|| format!("waiting: {what}"))?;
        bail!("after {} s it still was not so: {what}", patience(usual).as_secs());
    }
    Ok(())
}
