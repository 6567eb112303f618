//! Eyes on a card: how many packets of an attack, and of its twins, have come to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::capture::PacketSocket;
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::{clock, netns};

/// What the payload of a forged packet begins with, and that of its twin: as long as each other.
pub const FORGED: [u8; 16] = *b"psattack-forged!";
pub const HONEST: [u8; 16] = *b"psattack-honest!";
/// Seldom, so that looking costs nothing: the socket keeps what comes between.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Seen {
    end: AtomicBool,
    forged: AtomicU64,
    honest: AtomicU64,
}

/// A watch on what comes in by one card.
pub struct Witness {
    seen: Arc<Seen>,
    thread: JoinHandle<Result<()>>,
}

impl Witness {
    pub fn start(namespace: &Namespace, card: &str) -> Result<Witness> {
        let socket = namespace.run(|| PacketSocket::open_whole(card))?;
        let seen = Arc::new(Seen::default());
        let seeing = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("witness".into()).spawn(move || {
            let has = |frame: &[u8], mark: &[u8]| frame.windows(mark.len()).any(|window| window == mark);
            loop {
                // Read before draining: what came before the end is seen.
                let last = seeing.end.load(Relaxed);
                socket.drain(|frame, outgoing| {
                    seeing.forged.fetch_add(u64::from(!outgoing && has(frame, &FORGED)), Relaxed);
                    seeing.honest.fetch_add(u64::from(!outgoing && has(frame, &HONEST)), Relaxed);
                });
                if last {
                    let missed = socket.dropped();
                    ensure!(missed == 0, "a witness missed {missed} frames");
                    return Ok(());
                }
                clock::sleep_until(clock::now() + LOOK);
            }
        })?;
        Ok(Witness { seen, thread })
    }

    /// Twins up to now.
    pub fn honest(&self) -> u64 {
        self.seen.honest.load(Relaxed)
    }

    /// Ends it: forged packets and twins in all.
    pub fn finish(self) -> Result<(u64, u64)> {
        self.seen.end.store(true, Relaxed);
        netns::join(self.thread)?;
        Ok((self.seen.forged.load(Relaxed), self.seen.honest.load(Relaxed)))
    }
}
