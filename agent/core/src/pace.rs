//! How fast reports follow each other.

use std::time::Duration;

/// After a report that followed a quiet time, the next one may come so soon.
const LEAST: Duration = Duration::from_millis(100);
/// While things never stop changing, they come so rarely: then the newest state is this old at most.
const MOST: Duration = Duration::from_secs(5);

/// Spaces reports: the first change is told at once, a state that flaps ever more rarely. Nothing is queued: when it is
/// time, the newest state is told, so the last one always is.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// When the last one was, on any clock that only goes forward, and the pause after it.
    last: Option<(Duration, Duration)>,
}

impl Pace {
    /// How long what has changed has to wait at `now`.
    pub fn wait(&self, now: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |(last, pause)| (last + pause).saturating_sub(now))
    }

    /// A report was sent at `now`. One that came soon after the end of the pause makes the next pause longer.
    pub fn sent(&mut self, now: Duration) {
        let pause = match self.last {
            Some((last, pause)) if now < last + 2 * pause => MOST.min(2 * pause),
            _ => LEAST,
        };
        self.last = Some((now, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whenever it may for `time`, as long as `changes` says that something has changed by then; when it did.
    fn sent(pace: &mut Pace, from: Duration, time: Duration, every: Duration) -> Vec<Duration> {
        let (mut now, mut all) = (from, Vec::new());
        while now < from + time {
            now += pace.wait(now);
            pace.sent(now);
            all.push(now);
            now += every;
        }
        all
    }

    #[test]
    fn what_flaps_for_an_hour_is_told_some_hundred_times_and_never_five_times_in_a_second() {
        let mut pace = Pace::default();
        let flapping = sent(&mut pace, Duration::ZERO, Duration::from_secs(3_600), Duration::from_millis(1));
        assert!(flapping.len() < 750, "{}", flapping.len());
        for window in flapping.windows(5) {
            assert!(window[4] - window[0] > Duration::from_secs(1), "{window:?}");
        }
    }

    #[test]
    fn what_changes_once_in_a_while_is_told_at_once() {
        let mut pace = Pace::default();
        let calm = sent(&mut pace, Duration::ZERO, Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(calm.len(), 60);
    }

    #[test]
    fn after_a_quiet_time_everything_is_forgotten() {
        let mut pace = Pace::default();
        sent(&mut pace, Duration::ZERO, Duration::from_secs(60), Duration::from_millis(1));
        let now = Duration::from_secs(120);
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.sent(now);
        assert_eq!(pace.wait(now), LEAST);
    }
}
