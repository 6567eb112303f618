//! What one direction of a link does to packets, and what it counts. Both may be read and changed while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// A kind of line, per direction. What happens at random happens to so many packets of a million.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// One way.
    pub delay: Duration,
    /// Each packet is delayed up to this much more or less; packets keep their order.
    pub jitter: Duration,
    /// Packets lost at random.
    pub loss_ppm: u32,
    /// Packets that come out twice at random.
    pub double_ppm: u32,
    /// Packets held back at random by `hold`, so that later ones overtake them.
    pub reorder_ppm: u32,
    pub hold: Duration,
    /// Packets that say they understand it are marked as having met congestion (RFC 3168) at random.
    pub mark_ppm: u32,
    /// Bits per second; 0 for no limit.
    pub rate_bps: u64,
    /// Packets that wait at most; more are dropped.
    pub queue_packets: u32,
}

impl Profile {
    /// A line that only takes its time. Its queue holds 1,000 packets, as a Linux network card does by default.
    pub const fn delay(delay: Duration) -> Profile {
        Profile {
            delay,
            jitter: Duration::ZERO,
            loss_ppm: 0,
            double_ppm: 0,
            reorder_ppm: 0,
            hold: Duration::ZERO,
            mark_ppm: 0,
            rate_bps: 0,
            queue_packets: 1_000,
        }
    }
}

/// The live settings of one direction.
#[derive(Debug)]
pub struct Settings {
    profile: Mutex<Profile>,
    blackhole: AtomicBool,
}

impl Settings {
    pub fn new(profile: Profile) -> Self {
        Settings { profile: Mutex::new(profile), blackhole: AtomicBool::new(false) }
    }

    pub fn profile(&self) -> Profile {
        *self.lock()
    }

    /// From the next packet on.
    pub fn set_profile(&self, profile: Profile) {
        *self.lock() = profile;
    }

    /// The profile, unless it is just being changed: the line does not wait for whoever changes it.
    pub(super) fn refresh(&self, profile: &mut Profile) {
        if let Ok(current) = self.profile.try_lock() {
            *profile = *current;
        }
    }

    /// Drop everything, also what is under way, while the carrier stays.
    pub fn set_blackhole(&self, on: bool) {
        self.blackhole.store(on, Relaxed);
    }

    pub fn blackhole(&self) -> bool {
        self.blackhole.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Profile> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters of one direction.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) forwarded: AtomicU64,
    pub(super) doubled: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) marked: AtomicU64,
    pub(super) blackholed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) undeliverable: AtomicU64,
}

/// Frames that one direction has seen since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub forwarded: u64,
    /// Came out a second time (which is forwarded too).
    pub doubled: u64,
    /// Held back, so that others could overtake them.
    pub held: u64,
    /// Marked as having met congestion.
    pub marked: u64,
    /// Dropped by a blackhole.
    pub blackholed: u64,
    /// Dropped by random loss.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Dropped because the interface at the other end was down.
    pub undeliverable: u64,
}

impl Count {
    /// Every frame that was dropped, whatever the reason.
    pub fn dropped(&self) -> u64 {
        self.blackholed + self.lost + self.overflowed + self.undeliverable
    }
}

impl Counters {
    pub fn read(&self) -> Count {
        Count {
            forwarded: self.forwarded.load(Relaxed),
            doubled: self.doubled.load(Relaxed),
            held: self.held.load(Relaxed),
            marked: self.marked.load(Relaxed),
            blackholed: self.blackholed.load(Relaxed),
            lost: self.lost.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
            undeliverable: self.undeliverable.load(Relaxed),
        }
    }
}
