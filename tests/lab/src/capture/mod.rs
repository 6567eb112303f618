//! Counting what really is on a wire, with sockets that see every frame.

mod frame;
mod recording;
mod socket;

pub use frame::{FiveTuple, Transport};
pub use recording::{Frame, Frames, Recording, inject};
pub use socket::PacketSocket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::host::Host;
use crate::netns;

/// How often a capture looks: seldom, so that it hardly costs time; the socket keeps what comes between.
const LOOK: Duration = Duration::from_millis(10);

/// What a capture has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Packets the host received, per flow.
    pub received: BTreeMap<FiveTuple, u64>,
    /// Packets the host sent, per flow.
    pub sent: BTreeMap<FiveTuple, u64>,
    /// Frames the capture itself missed.
    pub missed: u32,
}

/// A capture of the flows `wanted` says yes to.
pub struct Capture {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Capture {
    /// Captures on `interface` of `host` from now on.
    ///
    /// # Errors
    /// When the interface cannot be listened on.
    pub fn start(
        host: &Host,
        interface: &str,
        wanted: impl Fn(&FiveTuple) -> bool + Send + 'static,
    ) -> Result<Capture> {
        let socket = host.net.run(|| PacketSocket::open(interface))?;
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            let mut seen = Seen::default();
            loop {
                // Read before draining: what came before the end is counted.
                let last = ending.load(Relaxed);
                socket.drain(|frame, outgoing| {
                    if let Some(tuple) = FiveTuple::of(frame).filter(&wanted) {
                        let flows = if outgoing { &mut seen.sent } else { &mut seen.received };
                        *flows.entry(tuple).or_default() += 1;
                    }
                });
                if last {
                    seen.missed = socket.dropped();
                    return Ok(seen);
                }
                clock::sleep_until(clock::now() + LOOK);
            }
        })?;
        Ok(Capture { end, thread })
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// When its thread failed.
    pub fn finish(self) -> Result<Seen> {
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}
