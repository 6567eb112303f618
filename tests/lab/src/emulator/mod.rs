//! A WAN line in software: two TAP devices, in any two namespaces, and a thread that carries frames between them with
//! delay, jitter, loss, a rate and a queue limit per direction. It stands in for netem, which not every kernel has.

mod congestion;
mod direction;
mod settings;
mod tap;

pub use settings::{Count, Profile, Settings};
pub use tap::Tap;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::netns::Namespace;
use crate::realtime;
use direction::Direction;
use settings::Counters;

/// Longest frame: an Ethernet header, a VLAN tag and 9,000 bytes.
const FRAME: usize = 9_018;
/// Frames taken from one side before the other gets its turn.
const BATCH: usize = 64;
/// How soon the thread notices that it shall end.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Which way a packet goes, seen from the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Up,
    Down,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::Up, Way::Down];

    /// For people and reports.
    pub fn word(self) -> &'static str {
        match self {
            Way::Up => "up",
            Way::Down => "down",
        }
    }
}

/// One way of a link: what it does, and what it has counted.
struct Lane {
    settings: Settings,
    counters: Counters,
}

struct Shared {
    up: Lane,
    down: Lane,
    edge: Tap,
    far: Tap,
    end: AtomicBool,
}

/// A running link. It ends when this is dropped.
pub struct Link {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Makes the two TAP devices and starts to carry frames. Both interfaces are left down.
    ///
    /// # Errors
    /// When a device cannot be made.
    pub fn start(edge: (&Namespace, &str), far: (&Namespace, &str), up: Profile, down: Profile) -> Result<Link> {
        let lane = |profile| Lane { settings: Settings::new(profile), counters: Counters::default() };
        let shared = Arc::new(Shared {
            up: lane(up),
            down: lane(down),
            edge: Tap::open(edge.0, edge.1)?,
            far: Tap::open(far.0, far.1)?,
            end: AtomicBool::new(false),
        });
        let carried = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("link-{}", edge.1)).spawn(move || carry(&carried))?;
        Ok(Link { shared, thread: Some(thread) })
    }

    /// The live settings of one way.
    pub fn settings(&self, way: Way) -> &Settings {
        &self.shared.lane(way).settings
    }

    /// Drops everything that way, also what is under way, without loss of carrier; or stops doing so.
    pub fn set_blackhole(&self, way: Way, on: bool) {
        self.settings(way).set_blackhole(on);
    }

    /// The same both ways: a silent failure of the whole line.
    pub fn set_blackholes(&self, on: bool) {
        for way in Way::BOTH {
            self.set_blackhole(way, on);
        }
    }

    /// What one way has counted.
    pub fn count(&self, way: Way) -> Count {
        self.shared.lane(way).counters.read()
    }

    /// Sets the MTU of both ends, wherever they are: 1,280 to 9,000 bytes.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.shared.edge.set_mtu(mtu)?;
        self.shared.far.set_mtu(mtu)
    }

    /// Plugs the cable in at the edge, or pulls it out: the carrier goes, and nothing gets through.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn set_plugged(&self, plugged: bool) -> Result<()> {
        self.set_blackholes(!plugged);
        Ok(self.shared.edge.set_carrier(plugged)?)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.end.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

/// Reads what has come, releases what is due, sleeps until the next frame comes or is due.
fn carry(shared: &Shared) {
    realtime::claim(realtime::LINK);
    let mut ways = [
        (&shared.up, shared.up.settings.profile(), &shared.edge, &shared.far, Direction::new(0x5eed_0001)),
        (&shared.down, shared.down.settings.profile(), &shared.far, &shared.edge, Direction::new(0x5eed_0002)),
    ];
    let mut frame = vec![0; FRAME];
    while !shared.end.load(Relaxed) {
        let mut wake = clock::now() + LONGEST_SLEEP;
        let mut idle = true;
        for (lane, profile, from, to, direction) in &mut ways {
            lane.settings.refresh(profile);
            let blackhole = lane.settings.blackhole();
            for _ in 0..BATCH {
                let Some(length) = from.receive(&mut frame) else { break };
                idle = false;
                direction.enter(&frame[..length], clock::now(), profile, blackhole, &lane.counters);
            }
            direction.leave(clock::now(), blackhole, &lane.counters, |frame| to.send(frame).is_ok());
            wake = wake.min(direction.next_due().unwrap_or(wake));
        }
        if idle {
            sleep(shared, wake.saturating_sub(clock::now()));
        }
    }
}

/// Sleeps until a frame comes in or `time` has passed.
fn sleep(shared: &Shared, time: Duration) {
    let interest = |tap: &Tap| libc::pollfd { fd: tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut taps = [interest(&shared.edge), interest(&shared.far)];
    let time = libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: ppoll reads and writes two pollfds and reads one timespec, all alive until it returns.
    unsafe { libc::ppoll(taps.as_mut_ptr(), 2, &time, std::ptr::null()) };
    if taps.iter().any(|tap| tap.revents & libc::POLLERR != 0) {
        // A device went away with its namespace; asking again at once would occupy the processor.
        clock::sleep_until(clock::now() + LONGEST_SLEEP);
    }
}
