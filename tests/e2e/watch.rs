//! Watching a wire for something of one's own choice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::capture::PacketSocket;
use pathsteer_lab::{clock, netns};

/// Seldom, so that watching costs nothing: the socket keeps what comes between.
const LOOK: Duration = Duration::from_millis(10);

/// A watch on a wire, which fills a `T`.
pub struct Watch<T> {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Default + Send + 'static> Watch<T> {
    /// Shows every frame from now on to `each`, with whether this host sent it.
    pub fn start(socket: PacketSocket, mut each: impl FnMut(&mut T, &[u8], bool) + Send + 'static) -> Result<Watch<T>> {
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut seen = T::default();
            loop {
                // Read before draining: what came before the end is seen.
                let last = ending.load(Relaxed);
                socket.drain(|frame, outgoing| each(&mut seen, frame, outgoing));
                if last {
                    let missed = socket.dropped();
                    ensure!(missed == 0, "a capture missed {missed} frames");
                    return Ok(seen);
                }
                clock::sleep_until(clock::now() + LOOK);
            }
        })?;
        Ok(Watch { end, thread })
    }

    /// Ends it; what was seen.
    pub fn finish(self) -> Result<T> {
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}
