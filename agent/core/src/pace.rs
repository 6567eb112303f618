//! How fast reports follow each other.

use std::time::Duration;

/// Reports are at least so far apart.
const LEAST: Duration = Duration::from_millis(100);
/// So many may come in a row before they have to wait: what a person does step by step is told step by step.
const BURST: u32 = 20;

/// Spaces reports: what changes now and then is told at once, a state that never stops changing at a steady rate. Nothing is
/// queued: when it is time, the newest state is told, so the last one always is. (The generic cell rate algorithm, ITU-T
/// I.371: a bucket of [`BURST`] reports that fills by one every so often.)
#[derive(Debug, Clone)]
pub struct Pace {
    every: Duration,
    last: Option<Duration>,
    /// When the bucket is full again, on any clock that only goes forward.
    full: Duration,
}

impl Pace {
    /// Whatever happens, one report `every` so often in the long run.
    pub fn new(every: Duration) -> Self {
        Pace { every, last: None, full: Duration::ZERO }
    }

    /// How long what has changed has to wait at `now`.
    pub fn wait(&self, now: Duration) -> Duration {
        let apart = self.last.map_or(Duration::ZERO, |last| last + LEAST);
        let steady = self.full.saturating_sub((BURST - 1) * self.every);
        apart.max(steady).saturating_sub(now)
    }

    /// A report was sent at `now`.
    pub fn sent(&mut self, now: Duration) {
        self.full = self.full.max(now) + self.every;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    /// Sends whenever it may for `time`, as long as something has changed `every` so often; when it did.
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
    fn what_flaps_for_an_hour_is_told_some_hundred_times_and_never_more_than_ten_times_in_a_second() {
        let flapping =
            sent(&mut Pace::new(EVERY), Duration::ZERO, Duration::from_secs(3_600), Duration::from_millis(1));
        assert!(flapping.len() < 750, "{}", flapping.len());
        for window in flapping.windows(11) {
            assert!(window[10] - window[0] >= Duration::from_secs(1), "{window:?}");
        }
    }

    #[test]
    fn what_changes_once_in_a_while_and_what_a_person_does_step_by_step_is_told_at_once() {
        let calm = sent(&mut Pace::new(EVERY), Duration::ZERO, Duration::from_secs(600), Duration::from_secs(6));
        assert_eq!(calm.len(), 100);
        let steps = sent(&mut Pace::new(EVERY), Duration::ZERO, Duration::from_secs(19), Duration::from_secs(1));
        assert_eq!(steps.len(), 19);
    }

    #[test]
    fn after_a_quiet_time_everything_is_forgotten() {
        let mut pace = Pace::new(EVERY);
        sent(&mut pace, Duration::ZERO, Duration::from_secs(60), Duration::from_millis(1));
        assert!(pace.wait(Duration::from_secs(60)) > Duration::from_secs(1));
        let now = Duration::from_secs(60) + BURST * EVERY;
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.sent(now);
        assert_eq!(pace.wait(now), LEAST);
    }
}
