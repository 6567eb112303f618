//! A numbered datagram flow, sent at a steady pace, accounted where it arrives.

use std::io::IoSliceMut;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use super::accounting::Accounting;
use super::packet::{SIZE, Stamp};
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

/// Sends one datagram every `period` from `start` until `end`; returns when each was sent. A datagram the kernel
/// refuses counts as sent: whoever uses the network wanted to send it.
///
/// # Errors
/// When the socket cannot be bound.
pub fn send(
    host: &Host,
    from: SocketAddrV4,
    to: SocketAddrV4,
    run: u64,
    period: Duration,
    (start, end): (Duration, Duration),
) -> Result<JoinHandle<Result<Vec<Duration>>>> {
    host.net.thread("udp-sender", move || {
        let socket = socket::udp(from)?;
        realtime::claim(realtime::SENDER);
        let mut sent = Vec::new();
        let mut due = start;
        while due < end {
            clock::sleep_until(due);
            let stamp = Stamp { run, sequence: sent.len() as u64, sent: clock::now() };
            let _ = socket.send_to(&stamp.write(), to);
            sent.push(stamp.sent);
            due += period;
        }
        Ok(sent)
    })
}

/// What a receiver has when it ends.
pub struct Received {
    pub accounting: Accounting,
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
    pub fn start(host: &Host, local: SocketAddrV4, run: u64) -> Result<Receiver> {
        let socket = host.net.run(|| socket::udp(local))?;
        socket.set_read_timeout(Some(LOOK))?;
        // The kernel notes when each datagram came in, so that a late reader does not look like a gap.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let end = Arc::new(AtomicBool::new(false));
        let distinct = Arc::new(AtomicU64::new(0));
        let (ending, counter) = (Arc::clone(&end), Arc::clone(&distinct));
        let thread = std::thread::Builder::new().name("udp-receiver".into()).spawn(move || {
            let mut accounting = Accounting::default();
            while !ending.load(Relaxed) {
                if let Some((stamp, arrival)) = receive(&socket)
                    && stamp.run == run
                {
                    accounting.arrived(stamp.sequence, arrival);
                    counter.store(accounting.distinct(), Relaxed);
                }
            }
            Ok(Received { accounting, socket_drops: socket::drops(&socket) })
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

/// The next datagram of ours and when the kernel received it; none when nothing of ours came in time.
fn receive(socket: &UdpSocket) -> Option<(Stamp, Duration)> {
    let mut bytes = [0; SIZE + 1];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let length = message.bytes;
    let arrival = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    })?;
    Some((Stamp::read(&bytes[..length])?, arrival))
}
