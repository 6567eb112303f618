//! A numbered datagram flow, sent at a steady pace, accounted where it arrives.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};

use super::accounting::Accounting;
use super::marker::Marker;
use super::packet::Stamp;
use super::socket;
use crate::clock;
use crate::host::Host;
use crate::netns;
use crate::realtime;

/// How soon a receiver notices that it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// After the last packet: a copy on the slowest line may still be under way, and must be seen if it gets through.
const SETTLE: Duration = Duration::from_millis(300);
/// How long missing packets are waited for: several times the delay of the slowest line with a full queue.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// What datagrams of a flow are like.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams {
    /// Number of the measurement, not used before.
    pub run: u64,
    /// Between two of them.
    pub period: Duration,
    /// Bytes of payload.
    pub size: usize,
    pub marker: Marker,
}

impl Datagrams {
    /// One every `period`, a little longer than a voice packet.
    pub const fn every(period: Duration, run: u64) -> Datagrams {
        Datagrams { run, period, size: 200, marker: Marker::SURVIVABLE }
    }
}

/// Sends `datagrams` from `start` until `end`; returns when each was sent. A datagram the kernel refuses counts as sent:
/// whoever uses the network wanted to send it.
///
/// # Errors
/// When the socket cannot be bound.
pub fn send(
    host: &Host,
    from: SocketAddr,
    to: SocketAddr,
    datagrams: Datagrams,
    (start, end): (Duration, Duration),
) -> Result<JoinHandle<Result<Vec<Duration>>>> {
    host.net.thread("udp-sender", move || {
        let socket = socket::udp(from)?;
        Ok(pace(&socket, to, datagrams, (start, end)))
    })
}

/// Sends `datagrams` to `to` on the calling thread, which is made punctual for it; returns when each was sent.
pub(super) fn pace(
    socket: &UdpSocket,
    to: SocketAddr,
    datagrams: Datagrams,
    (start, end): (Duration, Duration),
) -> Vec<Duration> {
    let Datagrams { run, period, size, marker } = datagrams;
    realtime::claim(realtime::SENDER);
    let mut sent = Vec::new();
    let mut due = start;
    while due < end {
        clock::sleep_until(due);
        let stamp = Stamp { run, sequence: sent.len() as u64, sent: clock::now() };
        let _ = socket.send_to(&stamp.write(marker, size), to);
        sent.push(stamp.sent);
        due += period;
    }
    sent
}

/// What a receiver has when it ends.
pub struct Received {
    pub accounting: Accounting,
    /// From where they came, as seen here: after any translation.
    pub sources: BTreeSet<SocketAddr>,
    /// Datagrams its own socket dropped.
    pub socket_drops: u32,
}

/// A receiver of one run's datagrams.
pub struct Receiver {
    end: Arc<AtomicBool>,
    distinct: Arc<AtomicU64>,
    thread: JoinHandle<Result<Received>>,
}

impl Receiver {
    /// Receives on `local` of `host` from now on.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(host: &Host, local: SocketAddr, run: u64) -> Result<Receiver> {
        Receiver::on(host.net.run(|| socket::udp(local))?, run, false)
    }

    /// Receives on `local` of `host` from now on, and sends every datagram of the run back to where it came from.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn answering(host: &Host, local: SocketAddr, run: u64) -> Result<Receiver> {
        Receiver::on(host.net.run(|| socket::udp(local))?, run, true)
    }

    pub(super) fn on(socket: UdpSocket, run: u64, answer: bool) -> Result<Receiver> {
        socket.set_read_timeout(Some(LOOK))?;
        // The kernel notes when each datagram came in, so that a late reader does not look like a gap.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let end = Arc::new(AtomicBool::new(false));
        let distinct = Arc::new(AtomicU64::new(0));
        let (ending, counter) = (Arc::clone(&end), Arc::clone(&distinct));
        let thread = std::thread::Builder::new().name("udp-receiver".into()).spawn(move || {
            let mut received =
                Received { accounting: Accounting::default(), sources: BTreeSet::new(), socket_drops: 0 };
            let mut bytes = vec![0; LONGEST];
            while !ending.load(Relaxed) {
                if let Some(Arrival { length, stamp, at, source }) = receive(&socket, &mut bytes)
                    && stamp.run == run
                {
                    received.accounting.arrived(stamp.sequence, at);
                    received.sources.insert(source);
                    counter.store(received.accounting.distinct(), Relaxed);
                    if answer {
                        // An answer that the kernel refuses is missed where it should arrive.
                        let _ = socket.send_to(&bytes[..length], source);
                    }
                }
            }
            received.socket_drops = socket::drops(&socket);
            Ok(received)
        })?;
        Ok(Receiver { end, distinct, thread })
    }

    /// Waits for what is still under way of `sent` packets, the last of which was sent at `last`, and ends.
    ///
    /// # Errors
    /// When the receiving thread failed.
    pub fn finish(self, sent: u64, last: Duration) -> Result<Received> {
        clock::sleep_until(last + SETTLE);
        clock::wait_until(last + PATIENCE, LOOK, || self.distinct.load(Relaxed) >= sent);
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}

/// A datagram of ours.
struct Arrival {
    length: usize,
    stamp: Stamp,
    /// When the kernel received it.
    at: Duration,
    source: SocketAddr,
}

/// The next datagram of ours; none when nothing of ours came in time.
fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> Option<Arrival> {
    let (length, at, source) = {
        let mut parts = [IoSliceMut::new(bytes)];
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
        let at = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        })?;
        (message.bytes, at, socket::address(&message.address?)?)
    };
    Some(Arrival { length, stamp: Stamp::read(&bytes[..length])?, at, source })
}
