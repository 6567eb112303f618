//! A recording: every frame of an interface, kept whole, to be searched afterwards.

use anyhow::Result;

use super::socket::PacketSocket;
use super::watch::Watch;
use crate::netns::Namespace;
use crate::traffic::Marker;

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
pub struct Recording(Watch<Frames>);

impl Recording {
    /// Records `interface` in `namespace` from now on.
    ///
    /// # Errors
    /// When the interface cannot be listened on.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Recording> {
        let socket = namespace.run(|| PacketSocket::open_whole(interface))?;
        let keep =
            |frames: &mut Frames, bytes: &[u8], outgoing| frames.0.push(Frame { outgoing, bytes: bytes.to_vec() });
        Ok(Recording(Watch::start(socket, keep)?))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When frames were missed: a search among the others would prove nothing.
    pub fn finish(self) -> Result<Frames> {
        self.0.finish()
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
