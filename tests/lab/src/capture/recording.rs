//! A recording: every frame of an interface, kept whole, to be searched afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::socket::PacketSocket;
use crate::clock;
use crate::netns::{self, Namespace};
use crate::traffic::Marker;

/// Seldom, so that recording hardly costs time; the socket keeps what comes between.
const LOOK: Duration = Duration::from_millis(5);

/// A frame as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether the host that was listened to sent it.
    pub outgoing: bool,
    /// From the Ethernet header on; on an interface without one, from the IP header on.
    pub bytes: Vec<u8>,
}

/// The frames of a recording, in their order.
#[derive(Debug, Default)]
pub struct Frames(pub Vec<Frame>);

impl Frames {
    /// How many carry `marker` somewhere.
    pub fn marked(&self, marker: Marker) -> usize {
        self.count(|frame| marker.is_in(&frame.bytes))
    }

    /// How many `wanted` says yes to.
    pub fn count(&self, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.0.iter().filter(|frame| wanted(frame)).count()
    }
}

/// A recording under way.
pub struct Recording {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Frames>>,
}

impl Recording {
    /// Records `interface` in `namespace` from now on.
    ///
    /// # Errors
    /// When the interface cannot be listened on.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Recording> {
        let socket = namespace.run(|| PacketSocket::open_whole(interface))?;
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("recording".into()).spawn(move || {
            let mut frames = Frames::default();
            loop {
                // Read before draining: what came before the end is recorded.
                let last = ending.load(Relaxed);
                socket.drain(|bytes, outgoing| frames.0.push(Frame { outgoing, bytes: bytes.to_vec() }));
                if last {
                    let missed = socket.dropped();
                    ensure!(missed == 0, "the recording missed {missed} frames");
                    return Ok(frames);
                }
                clock::sleep_until(clock::now() + LOOK);
            }
        })?;
        Ok(Recording { end, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When frames were missed: a search among the others would prove nothing.
    pub fn finish(self) -> Result<Frames> {
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}

/// Sends `frames` out of `interface` in `namespace`, as they are.
///
/// # Errors
/// When the interface is down or a frame longer than its MTU.
pub fn inject(namespace: &Namespace, interface: &str, frames: &[Vec<u8>]) -> Result<()> {
    namespace.run(|| {
        let socket = PacketSocket::open(interface)?;
        Ok(frames.iter().try_for_each(|frame| socket.send(frame))?)
    })
}
