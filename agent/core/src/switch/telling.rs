//! When a far end is told of the choice in force: until it acknowledges, and now and then for ever, because a far end
//! that restarted has forgotten it and could not send to a site that is silent.

use std::time::Duration;

/// Pause after the first sending: a satellite's round trip is under it most of the time, and a path that has just died
/// is told of by the others five times a second.
pub const RESEND_FIRST: Duration = Duration::from_millis(200);

/// Longest pause; every one is twice the last. At 200 ms throughout, a far end that is down for a day would cost a
/// metered uplink 50 MB per class (116 bytes with WireGuard, five a second).
pub const RESEND_LONGEST: Duration = Duration::from_secs(10);

/// Pause after an acknowledgement: what a restarted far end misses at most. By the active path alone it costs 0.7 MB a
/// day and class, with the answer.
pub const REMIND: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not acknowledged; the next pause is this.
    Unheard(Duration),
    /// Acknowledged.
    Heard,
    /// Acknowledged once, and asked again.
    Reminded,
}

/// What a far end knows of a choice, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Telling {
    /// When there is something to send or to conclude.
    pub due: Duration,
    state: State,
}

/// By which paths to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    EveryPath,
    ActivePath,
}

impl Telling {
    pub fn new(now: Duration) -> Telling {
        Telling { due: now, state: State::Unheard(RESEND_FIRST) }
    }

    pub fn acknowledged(&mut self, now: Duration) {
        *self = Telling { due: now + REMIND, state: State::Heard };
    }

    pub fn is_acknowledged(&self) -> bool {
        !matches!(self.state, State::Unheard(_))
    }

    /// To be called when due: the sending takes place now. A reminder that nobody answers is a choice nobody has heard.
    pub fn send(&mut self, now: Duration) -> By {
        let (pause, state, by) = match self.state {
            State::Heard => (RESEND_FIRST, State::Reminded, By::ActivePath),
            State::Reminded => (RESEND_FIRST, State::Unheard(RESEND_FIRST * 2), By::EveryPath),
            State::Unheard(pause) => (pause, State::Unheard((pause * 2).min(RESEND_LONGEST)), By::EveryPath),
        };
        *self = Telling { due: now + pause, state };
        by
    }
}
