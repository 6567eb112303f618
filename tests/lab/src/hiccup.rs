//! The hiccup meter: is this machine on time? One thread per processor asks to be woken every millisecond and notes
//! when it was not. Packets lost while the machine stood still say nothing about the system under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::{clock, netns, realtime};

/// How often the meter wants to be woken.
const PERIOD: Duration = Duration::from_millis(1);
/// A delay longer than this counts: it is far beyond the 18 microseconds of a healthy machine, and shorter than
/// what any queue in the lab holds.
pub const STALL: Duration = Duration::from_millis(5);

/// A time in which a processor did not run what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    pub start: Duration,
    pub end: Duration,
}

impl Stall {
    pub fn length(&self) -> Duration {
        self.end - self.start
    }

    /// Whether it touches the time from `start` to `end`.
    pub fn overlaps(&self, start: Duration, end: Duration) -> bool {
        self.start <= end && start <= self.end
    }
}

/// A running meter.
pub struct Meter {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Stall>>>>,
}

impl Meter {
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> Result<Meter> {
        let end = Arc::new(AtomicBool::new(false));
        let threads = realtime::processors()?
            .into_iter()
            .map(|processor| {
                let end = Arc::clone(&end);
                std::thread::Builder::new().name("hiccup".into()).spawn(move || {
                    realtime::pin(processor)?;
                    realtime::claim(realtime::METER);
                    Ok(watch(&end))
                })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Meter { end, threads })
    }

    /// Every stall since the start, of all processors, in order.
    ///
    /// # Errors
    /// When a thread could not be kept on its processor.
    pub fn finish(self) -> Result<Vec<Stall>> {
        self.end.store(true, Relaxed);
        let mut stalls = Vec::new();
        for thread in self.threads {
            stalls.extend(netns::join(thread)?);
        }
        stalls.sort_by_key(|stall| stall.start);
        Ok(stalls)
    }
}

fn watch(end: &AtomicBool) -> Vec<Stall> {
    let mut stalls = Vec::new();
    let mut wanted = clock::now();
    while !end.load(Relaxed) {
        wanted += PERIOD;
        clock::sleep_until(wanted);
        let now = clock::now();
        if now.saturating_sub(wanted) > STALL {
            stalls.push(Stall { start: wanted, end: now });
        }
        wanted = now;
    }
    stalls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_overlaps_what_it_touches_and_nothing_else() {
        let ms = Duration::from_millis;
        let stall = Stall { start: ms(10), end: ms(20) };
        assert!(stall.overlaps(ms(0), ms(10)) && stall.overlaps(ms(15), ms(16)) && stall.overlaps(ms(20), ms(30)));
        assert!(!stall.overlaps(ms(0), ms(9)) && !stall.overlaps(ms(21), ms(30)));
    }
}
