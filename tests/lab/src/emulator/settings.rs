//! What one direction of a link does to packets, and what it counts. Both may be read and changed while it runs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

/// A kind of line, per direction.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// One way.
    pub delay: Duration,
    /// Each packet is delayed up to this much more or less; packets keep their order.
    pub jitter: Duration,
    /// Packets lost at random, per million.
    pub loss_ppm: u32,
    /// Bits per second; 0 for no limit.
    pub rate_bps: u64,
    /// Packets that wait at most; more are dropped.
    pub queue_packets: u32,
}

/// The live settings of one direction.
#[derive(Debug)]
pub struct Settings {
    delay_ns: AtomicU64,
    jitter_ns: AtomicU64,
    loss_ppm: AtomicU32,
    rate_bps: AtomicU64,
    queue_packets: AtomicU32,
    blackhole: AtomicBool,
}

impl Settings {
    pub fn new(profile: Profile) -> Self {
        let nanoseconds = |time: Duration| AtomicU64::new(time.as_nanos() as u64);
        Settings {
            delay_ns: nanoseconds(profile.delay),
            jitter_ns: nanoseconds(profile.jitter),
            loss_ppm: AtomicU32::new(profile.loss_ppm),
            rate_bps: AtomicU64::new(profile.rate_bps),
            queue_packets: AtomicU32::new(profile.queue_packets),
            blackhole: AtomicBool::new(false),
        }
    }

    pub fn profile(&self) -> Profile {
        Profile {
            delay: Duration::from_nanos(self.delay_ns.load(Relaxed)),
            jitter: Duration::from_nanos(self.jitter_ns.load(Relaxed)),
            loss_ppm: self.loss_ppm.load(Relaxed),
            rate_bps: self.rate_bps.load(Relaxed),
            queue_packets: self.queue_packets.load(Relaxed),
        }
    }

    /// From the next packet on.
    pub fn set_profile(&self, profile: Profile) {
        self.delay_ns.store(profile.delay.as_nanos() as u64, Relaxed);
        self.jitter_ns.store(profile.jitter.as_nanos() as u64, Relaxed);
        self.loss_ppm.store(profile.loss_ppm, Relaxed);
        self.rate_bps.store(profile.rate_bps, Relaxed);
        self.queue_packets.store(profile.queue_packets, Relaxed);
    }

    /// Drop everything, also what is under way, while the carrier stays.
    pub fn set_blackhole(&self, on: bool) {
        self.blackhole.store(on, Relaxed);
    }

    pub fn blackhole(&self) -> bool {
        self.blackhole.load(Relaxed)
    }
}

/// Counters of one direction.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) forwarded: AtomicU64,
    pub(super) blackholed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) undeliverable: AtomicU64,
}

/// Frames that one direction has seen since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub forwarded: u64,
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
            blackholed: self.blackholed.load(Relaxed),
            lost: self.lost.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
            undeliverable: self.undeliverable.load(Relaxed),
        }
    }
}
