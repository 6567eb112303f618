//! A conversation that goes on beside the attacks, of which not one question or answer may be missing or come twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::host::Host;
use pathsteer_lab::netns;

use crate::talk::socket;

pub struct Steady {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32>>,
}

impl Steady {
    /// `from` asks `to` until the end.
    pub fn start(from: (&Host, SocketAddr), to: (&Host, SocketAddr)) -> Result<Steady> {
        let (asking, answering) = (socket(from.0, from.1)?, socket(to.0, to.1)?);
        let (near, far) = (from.1, to.1);
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("steady".into()).spawn(move || {
            let (mut round, mut bytes) = (0_u32, [0; 4]);
            while !ending.load(Relaxed) {
                for (what, sending, to, receiving) in
                    [("question", &asking, far, &answering), ("answer", &answering, near, &asking)]
                {
                    sending.send_to(&round.to_be_bytes(), to)?;
                    receiving.recv(&mut bytes).with_context(|| format!("{what} {round} was lost"))?;
                    ensure!(bytes == round.to_be_bytes(), "{what} {round}: got {bytes:?}");
                }
                round += 1;
            }
            Ok(round)
        })?;
        Ok(Steady { end, thread })
    }

    /// Ends it: how many questions were answered.
    pub fn finish(self) -> Result<u32> {
        self.end.store(true, Relaxed);
        let rounds = netns::join(self.thread)?;
        ensure!(rounds > 0, "nothing was asked");
        Ok(rounds)
    }
}
