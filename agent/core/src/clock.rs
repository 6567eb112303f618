//! Whether the clock lies behind what this node has already lived through. A WireGuard responder refuses whoever dates a
//! handshake before the last one, so a machine without a clock of its own, started with yesterday's time and out of reach of
//! a time server, would have no tunnel for a day.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often the time is kept while the agent runs. What was lived through since is not known after a crash.
pub const KEEP_TIME_EVERY: Duration = Duration::from_secs(60);

/// Added to the time kept: beyond every time that was used after it, also where the disk was slow.
pub const MARGIN: Duration = Duration::from_secs(120);

/// A time that this node has lived through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeKept {
    /// Since 1970.
    pub time: Duration,
    /// The kernel's name for the life of the machine in which that was.
    pub boot: String,
}

/// What is known of the time when the agent starts. Times are since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    pub now: Duration,
    /// The kernel says that somebody keeps its clock right.
    pub synchronised: bool,
    /// As in [`TimeKept::boot`].
    pub boot: String,
    pub kept: Option<TimeKept>,
    /// From when until when the node's certificate holds.
    pub valid: (Duration, Duration),
}

impl Clock {
    /// The time to set, if the clock lies behind: later than now, and never beyond the end of the certificate. A time kept
    /// from beyond that end is one of a clock that was wrong, and would lead to where no certificate holds; it is not
    /// believed.
    ///
    /// In the life of the machine in which the time was kept, the clock need not be beyond the margin: what was used of
    /// it is behind us anyway.
    pub fn step(&self) -> Option<Duration> {
        let Clock { now, synchronised, boot, kept, valid: (from, until) } = self;
        let believed = kept.as_ref().filter(|kept| kept.time <= *until);
        let behind = believed.filter(|kept| *now < kept.time || kept.boot != *boot);
        let floor = behind.map_or(*from, |kept| (kept.time + MARGIN).max(*from));
        Some(floor.min(*until)).filter(|floor| now < floor && !synchronised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    /// A machine of another life than the one in which `kept` was kept; its certificate holds from day 100 to day 190.
    fn started(now: Duration, kept: Option<Duration>) -> Clock {
        let kept = kept.map(|time| TimeKept { time, boot: "before".into() });
        Clock { now, synchronised: false, boot: "now".into(), kept, valid: (days(100), days(190)) }
    }

    #[test]
    fn a_clock_that_lies_behind_is_set_beyond_everything_that_was_used() {
        assert_eq!(started(days(149), Some(days(150))).step(), Some(days(150) + MARGIN));
        // it came back with the time of the shutdown: what was used after the last keeping may still be ahead
        assert_eq!(started(days(150), Some(days(150))).step(), Some(days(150) + MARGIN));
        assert!(MARGIN > KEEP_TIME_EVERY);
    }

    #[test]
    fn a_clock_that_is_ahead_is_left_alone() {
        assert_eq!(started(days(151), Some(days(150))).step(), None);
        assert_eq!(started(days(150) + MARGIN, Some(days(150))).step(), None);
        assert_eq!(started(days(500), Some(days(150))).step(), None);
    }

    #[test]
    fn a_clock_that_somebody_keeps_right_is_left_alone() {
        let synchronised = |clock: Clock| Clock { synchronised: true, ..clock };
        assert_eq!(synchronised(started(days(149), Some(days(150)))).step(), None);
        assert_eq!(synchronised(started(days(1), None)).step(), None);
    }

    #[test]
    fn an_agent_that_starts_again_does_not_push_the_clock_forward() {
        let again = |now: Duration| Clock { boot: "before".into(), ..started(now, Some(days(150))) };
        assert_eq!(again(days(150) + Duration::from_secs(1)).step(), None);
        assert_eq!(again(days(150)).step(), None);
        // somebody has set it back meanwhile
        assert_eq!(again(days(149)).step(), Some(days(150) + MARGIN));
    }

    #[test]
    fn without_a_time_kept_the_certificate_says_how_late_it_is_at_least() {
        assert_eq!(started(days(3), None).step(), Some(days(100)));
        assert_eq!(started(days(101), None).step(), None);
        assert_eq!(started(days(3), Some(days(7))).step(), Some(days(100)));
    }

    #[test]
    fn no_time_kept_leads_beyond_the_end_of_the_certificate() {
        assert_eq!(started(days(149), Some(days(25_567))).step(), None);
        assert_eq!(started(days(3), Some(days(25_567))).step(), Some(days(100)));
        assert_eq!(started(days(149), Some(days(190))).step(), Some(days(190)));
        assert_eq!(started(days(149), Some(days(190) - MARGIN / 2)).step(), Some(days(190)));
        assert_eq!(started(days(149), Some(Duration::MAX)).step(), None);
    }
}
