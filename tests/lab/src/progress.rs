//! Lines that say what happens now.

use std::io::Write;
use std::time::Duration;

use crate::clock;

/// Prints lines with the time since it was made.
#[derive(Debug)]
pub struct Progress {
    start: Duration,
}

impl Progress {
    pub fn start() -> Self {
        Progress { start: clock::now() }
    }

    /// One line, at once.
    pub fn say(&self, what: &str) {
        let seconds = self.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        // Whoever watched may have gone: the work goes on.
        let _ = writeln!(out, "[{seconds:6.1} s] {what}").and_then(|()| out.flush());
    }

    pub fn elapsed(&self) -> Duration {
        clock::now() - self.start
    }
}
