//! Counting what really is on a wire, with sockets that see every frame.

mod frame;
mod recording;
mod socket;
mod watch;

pub use frame::{FiveTuple, Transport};
pub use recording::{Frame, Frames, Recording, inject};
pub use socket::PacketSocket;
pub use watch::Watch;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::host::Host;

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
pub struct Capture(Watch<Seen>);

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
        let watch = Watch::start(socket, move |seen: &mut Seen, frame, outgoing| {
            if let Some(tuple) = FiveTuple::of(frame).filter(&wanted) {
                let flows = if outgoing { &mut seen.sent } else { &mut seen.received };
                *flows.entry(tuple).or_default() += 1;
            }
        })?;
        Ok(Capture(watch))
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// When its thread failed.
    pub fn finish(self) -> Result<Seen> {
        let (seen, missed) = self.0.finish_with_missed()?;
        Ok(Seen { missed, ..seen })
    }
}
