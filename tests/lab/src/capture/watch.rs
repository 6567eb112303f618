//! A watch on a wire for something of one's own choice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::socket::PacketSocket;
use crate::{clock, netns};

/// Seldom, so that watching hardly costs time: the socket keeps what comes between.
const LOOK: Duration = Duration::from_millis(10);

/// A watch under way, which fills a `T`.
pub struct Watch<T> {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<(T, u32)>>,
}

impl<T: Default + Send + 'static> Watch<T> {
    /// Shows every frame from now on to `each`, with whether this host sent it.
    ///
    /// # Errors
    /// When no thread could be started.
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
                    return Ok((seen, socket.dropped()));
                }
                clock::sleep_until(clock::now() + LOOK);
            }
        })?;
        Ok(Watch { end, thread })
    }

    /// Ends it; what was seen.
    ///
    /// # Errors
    /// When frames were missed: what was seen among the others would prove nothing.
    pub fn finish(self) -> Result<T> {
        let (seen, missed) = self.finish_with_missed()?;
        ensure!(missed == 0, "a capture missed {missed} frames");
        Ok(seen)
    }

    /// Ends it; what was seen, and how many frames were missed.
    ///
    /// # Errors
    /// When its thread failed.
    pub fn finish_with_missed(self) -> Result<(T, u32)> {
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}
