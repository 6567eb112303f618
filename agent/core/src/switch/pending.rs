//! When a choice that no far end has acknowledged is said again.

use std::time::Duration;

/// Pause after the first sending: a satellite's round trip is under it most of the time, and a path that has just died
/// is told of by the others five times a second.
pub const RESEND_FIRST: Duration = Duration::from_millis(200);

/// Longest pause; every one is twice the last. At 200 ms throughout, a far end that is down for a day would cost a
/// metered uplink 50 MB per class (116 bytes with WireGuard, five a second).
pub const RESEND_LONGEST: Duration = Duration::from_secs(10);

/// A choice still to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub due: Duration,
    pause: Duration,
}

impl Pending {
    pub fn new(now: Duration) -> Pending {
        Pending { due: now, pause: RESEND_FIRST }
    }

    pub fn sent(&mut self, now: Duration) {
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(RESEND_LONGEST);
    }
}
