//! One direction of a link: a queue of frames, each with the moment at which it comes out at the other end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::congestion;
use super::settings::{Counters, Profile};

/// A frame under way.
struct Frame {
    due: Duration,
    bytes: Vec<u8>,
}

/// The frames under way in one direction.
pub(super) struct Direction {
    /// In the order in which they come out.
    queue: VecDeque<Frame>,
    /// Buffers to use again: no allocation while packets flow.
    spare: Vec<Vec<u8>>,
    /// When the line has sent the last frame it accepted.
    line_free: Duration,
    /// When the last frame comes out that was not held back: none overtakes it but by holding back.
    last_due: Duration,
    random: u64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Direction {
    /// `seed` decides which packets random loss and jitter hit: the same seed, the same packets.
    pub fn new(seed: u64) -> Self {
        let zero = Duration::ZERO;
        Direction { queue: VecDeque::new(), spare: Vec::new(), line_free: zero, last_due: zero, random: seed | 1 }
    }

    /// Accepts or drops a frame that enters at `now`.
    pub fn enter(&mut self, frame: &[u8], now: Duration, profile: &Profile, blackhole: bool, counters: &Counters) {
        if blackhole {
            return count(&counters.blackholed);
        }
        if self.chance(profile.loss_ppm) {
            return count(&counters.lost);
        }
        if self.queue.len() >= profile.queue_packets as usize {
            return count(&counters.overflowed);
        }
        let mut sent = now;
        // A rate of 0 is no limit.
        if let Some(serialization) = (frame.len() as u64 * 8 * 1_000_000_000).checked_div(profile.rate_bps) {
            self.line_free = self.line_free.max(now) + Duration::from_nanos(serialization);
            sent = self.line_free;
        }
        let mut due = sent + profile.delay;
        if !profile.jitter.is_zero() {
            let spread = Duration::from_nanos(self.random() % (2 * profile.jitter.as_nanos() as u64));
            due = (due + spread).saturating_sub(profile.jitter);
        }
        let mut due = due.max(self.last_due);
        if self.chance(profile.reorder_ppm) {
            due += profile.hold;
            count(&counters.held);
        } else {
            self.last_due = due;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        if self.chance(profile.mark_ppm) && congestion::mark(&mut bytes) {
            count(&counters.marked);
        }
        if self.chance(profile.double_ppm) {
            count(&counters.doubled);
            self.queue_up(Frame { due, bytes: bytes.clone() });
        }
        self.queue_up(Frame { due, bytes });
    }

    /// Behind everything that is due as early; only a frame held back has later ones behind it.
    fn queue_up(&mut self, frame: Frame) {
        let behind = self.queue.iter().rev().take_while(|later| later.due > frame.due).count();
        self.queue.insert(self.queue.len() - behind, frame);
    }

    /// Takes out what is due at `now`; `deliver` says whether the other end took it.
    pub fn leave(
        &mut self,
        now: Duration,
        blackhole: bool,
        counters: &Counters,
        mut deliver: impl FnMut(&[u8]) -> bool,
    ) {
        while self.queue.front().is_some_and(|frame| frame.due <= now) {
            let Some(frame) = self.queue.pop_front() else { return };
            count(if blackhole {
                &counters.blackholed
            } else if deliver(&frame.bytes) {
                &counters.forwarded
            } else {
                &counters.undeliverable
            });
            self.spare.push(frame.bytes);
        }
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.front().map(|frame| frame.due)
    }

    /// True for so many of a million.
    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random() % 1_000_000 < u64::from(ppm)
    }

    /// xorshift64: enough for choosing packets, and the same on every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn profile() -> Profile {
        Profile::delay(10 * MS)
    }

    #[test]
    fn a_frame_comes_out_after_its_delay_and_not_before() {
        let (mut line, counters) = (Direction::new(1), Counters::default());
        line.enter(b"frame", MS, &profile(), false, &counters);
        assert_eq!(line.next_due(), Some(11 * MS));
        let mut out = Vec::new();
        line.leave(10 * MS, false, &counters, |frame| {
            out.push(frame.to_vec());
            true
        });
        assert!(out.is_empty());
        line.leave(11 * MS, false, &counters, |frame| {
            out.push(frame.to_vec());
            true
        });
        assert_eq!(out, [b"frame".to_vec()]);
        assert_eq!(counters.read().forwarded, 1);
    }

    #[test]
    fn jitter_spreads_the_delay_but_keeps_the_order() {
        let (mut line, counters) = (Direction::new(7), Counters::default());
        let jittery = Profile { jitter: 4 * MS, ..profile() };
        for number in 0..200_u32 {
            line.enter(&number.to_be_bytes(), number * MS / 2, &jittery, false, &counters);
        }
        let dues: Vec<Duration> = line.queue.iter().map(|frame| frame.due).collect();
        assert!(dues.is_sorted());
        let delays: Vec<Duration> = dues.iter().zip(0..).map(|(due, number)| *due - number * MS / 2).collect();
        assert!(delays.iter().min() < Some(&(9 * MS)) && delays.iter().max() > Some(&(11 * MS)), "{delays:?}");
    }

    #[test]
    fn a_slow_line_spaces_frames_by_their_length() {
        let (mut line, counters) = (Direction::new(1), Counters::default());
        let slow = Profile { rate_bps: 8_000_000, ..profile() };
        for _ in 0..3 {
            line.enter(&[0; 1_000], Duration::ZERO, &slow, false, &counters);
        }
        let dues: Vec<Duration> = line.queue.iter().map(|frame| frame.due).collect();
        assert_eq!(dues, [11 * MS, 12 * MS, 13 * MS]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (mut line, counters) = (Direction::new(1), Counters::default());
        let short = Profile { queue_packets: 2, ..profile() };
        for _ in 0..5 {
            line.enter(b"x", Duration::ZERO, &short, false, &counters);
        }
        assert_eq!((line.queue.len(), counters.read().overflowed), (2, 3));
    }

    #[test]
    fn a_frame_held_back_comes_out_behind_later_ones_and_none_is_missing() {
        let (mut line, counters) = (Direction::new(3), Counters::default());
        let shuffling = Profile { reorder_ppm: 500_000, hold: 5 * MS, ..profile() };
        for number in 0..100_u8 {
            line.enter(&[number], u32::from(number) * MS, &shuffling, false, &counters);
        }
        let mut out = Vec::new();
        line.leave(1_000 * MS, false, &counters, |frame| {
            out.push(frame[0]);
            true
        });
        assert!(!out.is_sorted() && (30..70).contains(&counters.read().held), "{out:?}");
        out.sort();
        assert!(out.into_iter().eq(0..100));
    }

    #[test]
    fn a_doubled_frame_comes_out_twice() {
        let (mut line, counters) = (Direction::new(1), Counters::default());
        line.enter(b"x", MS, &Profile { double_ppm: 1_000_000, ..profile() }, false, &counters);
        line.leave(20 * MS, false, &counters, |_| true);
        assert_eq!((counters.read().doubled, counters.read().forwarded), (1, 2));
    }

    #[test]
    fn a_blackhole_takes_what_enters_and_what_is_under_way() {
        let (mut line, counters) = (Direction::new(1), Counters::default());
        line.enter(b"under way", Duration::ZERO, &profile(), false, &counters);
        line.enter(b"entering", MS, &profile(), true, &counters);
        line.leave(20 * MS, true, &counters, |_| panic!("nothing may come out of a blackhole"));
        assert_eq!((counters.read().blackholed, counters.read().forwarded), (2, 0));
    }
}
