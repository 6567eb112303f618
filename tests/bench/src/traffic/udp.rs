//! Numbered UDP packets, in batches.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use pathsteer_lab::host::Host;
use pathsteer_lab::{clock, netns};

use super::Window;
use crate::processor;

/// Packets handed to or fetched from the kernel by one system call.
const BATCH: usize = 64;
/// Bytes kept of a received packet: its number.
const NUMBER: usize = 8;
/// What a receiver may have waiting: 32 MiB, so that it is never the one that loses.
const BUFFER: usize = 32 << 20;
/// How long a receiver waits for the last packets, which may stand in queues behind encryption.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// How packets are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As fast as the kernel takes them.
    Flood,
    /// So many at once, once every millisecond.
    PerMillisecond(usize),
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Packets handed to the kernel, from first to last.
    pub sent: u64,
    /// Different ones of them that arrived.
    pub delivered: u64,
    /// Different ones a second that arrived within the window.
    pub rate: f64,
    /// Arrivals of what had arrived before.
    pub doubled: u64,
    /// Processor time of sender and receiver.
    pub processor: Duration,
}

/// Sends packets with `bytes` of payload from `client` to `server` at `address`, until `window` is over.
///
/// # Errors
/// When a socket is not to be had or refuses.
pub fn stream(
    client: &Host,
    server: &Host,
    address: SocketAddr,
    bytes: usize,
    pace: Pace,
    window: Window,
) -> Result<Outcome> {
    let receiver = server.net.run(|| {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        Ok(socket)
    })?;
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let receiver = server.net.thread("receiver", move || receive(&receiver, window, &stop))?;
    let sender = client.net.thread("sender", move || send(address, bytes, pace, window))?;
    let sent = netns::join(sender);
    done.store(true, Relaxed);
    let received = netns::join(receiver)?;
    let (sent, processor) = sent?;
    Ok(Outcome { sent, processor: received.processor + processor, ..received })
}

/// A socket of the calling thread's namespace that talks to `address` alone.
///
/// # Errors
/// When there is no way to it.
pub fn connected(address: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address).with_context(|| format!("no way to {address}"))?;
    Ok(socket)
}

fn send(address: SocketAddr, bytes: usize, pace: Pace, window: Window) -> Result<(u64, Duration)> {
    ensure!(bytes >= NUMBER, "a packet needs {NUMBER} bytes for its number");
    let socket = connected(address)?;
    let before = processor::of_this_thread()?;
    let mut packets = vec![vec![0; bytes]; BATCH];
    let mut sent = 0;
    let mut due = clock::now();
    while !window.is_over() {
        let count = match pace {
            Pace::Flood => BATCH,
            Pace::PerMillisecond(count) => {
                due += Duration::from_millis(1);
                clock::sleep_until(due);
                count.min(BATCH)
            }
        };
        for (index, packet) in packets[..count].iter_mut().enumerate() {
            packet[..NUMBER].copy_from_slice(&(sent + index as u64).to_be_bytes());
        }
        sent += send_batch(&socket, &packets[..count])? as u64;
    }
    Ok((sent, processor::of_this_thread()? - before))
}

/// How many of `packets` the kernel took.
///
/// # Errors
/// When it takes none, unless only because its queue is full.
pub fn send_batch(socket: &UdpSocket, packets: &[Vec<u8>]) -> Result<usize> {
    let mut parts: Vec<libc::iovec> = packets
        .iter()
        .map(|packet| libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() })
        .collect();
    // SAFETY: all-zero is a valid mmsghdr; the parts and what they point to outlive the call, which only reads them.
    let sent = unsafe {
        let mut messages: Vec<libc::mmsghdr> = vec![std::mem::zeroed(); parts.len()];
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, 0)
    };
    match Errno::result(sent) {
        Ok(sent) => Ok(sent as usize),
        Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(0),
        Err(errno) => Err(errno).context("sending"),
    }
}

fn receive(socket: &UdpSocket, window: Window, done: &AtomicBool) -> Result<Outcome> {
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut seen = Seen::default();
    let mut outcome = Outcome::default();
    let (mut in_window, mut last) = (0, clock::now());
    while !done.load(Relaxed) || clock::now() - last < STRAGGLERS {
        let fresh_before = outcome.delivered;
        let got = receive_batch(socket, |number| match seen.insert(number) {
            true => outcome.delivered += 1,
            false => outcome.doubled += 1,
        })?;
        if got > 0 {
            last = clock::now();
        }
        if window.begin <= last && last < window.end {
            in_window += outcome.delivered - fresh_before;
        }
    }
    outcome.rate = in_window as f64 / window.seconds();
    outcome.processor = processor::of_this_thread()?;
    Ok(outcome)
}

/// Hands the number of every packet that is there to `each`, once one is; 0 when none came in time.
fn receive_batch(socket: &UdpSocket, mut each: impl FnMut(u64)) -> Result<usize> {
    let mut numbers = [[0_u8; NUMBER]; BATCH];
    // SAFETY: all-zero is valid for these C structs; the memory they point to outlives the call, and nothing else
    // touches it meanwhile.
    let got = unsafe {
        let mut parts: [libc::iovec; BATCH] = std::mem::zeroed();
        let mut messages: [libc::mmsghdr; BATCH] = std::mem::zeroed();
        for index in 0..BATCH {
            parts[index] = libc::iovec { iov_base: numbers[index].as_mut_ptr().cast(), iov_len: NUMBER };
            messages[index].msg_hdr.msg_iov = &mut parts[index];
            messages[index].msg_hdr.msg_iovlen = 1;
        }
        let flags = libc::MSG_WAITFORONE as _;
        libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, flags, std::ptr::null_mut())
    };
    let got = match Errno::result(got) {
        Ok(got) => got as usize,
        Err(Errno::EAGAIN | Errno::EINTR) => 0,
        Err(errno) => return Err(errno).context("receiving"),
    };
    numbers[..got].iter().for_each(|number| each(u64::from_be_bytes(*number)));
    Ok(got)
}

/// Numbers that have been seen, a bit each.
#[derive(Default)]
struct Seen(Vec<u64>);

impl Seen {
    /// Whether `number` is new.
    fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(64) && seen.insert(0) && seen.insert(63));
        assert!(!seen.insert(64) && !seen.insert(0));
    }
}
