//! Ping: ICMP echoes at a steady pace, each answer matched with its question, in both families.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};

use super::marker::Marker;
use crate::clock;
use crate::craft::checksum;
use crate::host::Host;

const PERIOD: Duration = Duration::from_millis(100);
/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What ICMP is called in one family.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    domain: libc::c_int,
    protocol: libc::c_int,
    request: u8,
    reply: u8,
    /// A raw socket shows the header of IPv4 too.
    shows_header: bool,
}

const V4: Dialect =
    Dialect { domain: libc::AF_INET, protocol: libc::IPPROTO_ICMP, request: 8, reply: 0, shows_header: true };
const V6: Dialect =
    Dialect { domain: libc::AF_INET6, protocol: libc::IPPROTO_ICMPV6, request: 128, reply: 129, shows_header: false };

/// Pings `to` from `host` between `start` and `end`; returns how many echoes were never answered.
///
/// # Errors
/// Without CAP_NET_RAW.
pub fn start(
    host: &Host,
    to: IpAddr,
    identifier: u16,
    marker: Marker,
    (start, end): (Duration, Duration),
) -> Result<JoinHandle<Result<u64>>> {
    let dialect = if to.is_ipv4() { V4 } else { V6 };
    host.net.thread("ping", move || {
        let socket = dialect.socket()?;
        let target = SockaddrStorage::from(SocketAddr::new(to, 0));
        let mut waiting = BTreeSet::new();
        let mut due = start;
        let mut sequence = 0_u16;
        while due < end {
            dialect.answers(&socket, identifier, due, &mut waiting);
            let echo = dialect.echo(identifier, sequence, marker);
            let _ = sendto(socket.as_raw_fd(), &echo, &target, MsgFlags::empty());
            waiting.insert(sequence);
            sequence += 1;
            due += PERIOD;
        }
        let deadline = clock::now() + PATIENCE;
        while !waiting.is_empty() && clock::now() < deadline {
            dialect.answers(&socket, identifier, clock::now() + PERIOD, &mut waiting);
        }
        Ok(waiting.len() as u64)
    })
}

impl Dialect {
    fn socket(self) -> Result<OwnedFd> {
        // SAFETY: a plain system call; the descriptor it returns is owned by nobody else.
        unsafe {
            let fd = libc::socket(self.domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, self.protocol);
            if fd < 0 {
                return Err(std::io::Error::last_os_error()).context("opening a socket for ICMP");
            }
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }

    /// Takes answers off `waiting` until `deadline`.
    fn answers(self, socket: &OwnedFd, identifier: u16, deadline: Duration, waiting: &mut BTreeSet<u16>) {
        loop {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return;
            }
            let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let mut bytes = [0_u8; 256];
            // SAFETY: one pollfd and one buffer, both alive until the calls return.
            let length = unsafe {
                libc::poll(&mut poll, 1, left.as_millis() as i32 + 1);
                libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT)
            };
            if let Ok(length) = usize::try_from(length)
                && let Some(sequence) = self.answer(&bytes[..length], identifier)
            {
                waiting.remove(&sequence);
            }
        }
    }

    fn echo(self, identifier: u16, sequence: u16, marker: Marker) -> Vec<u8> {
        let mut packet = vec![self.request, 0, 0, 0];
        packet.extend(identifier.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(marker.bytes());
        packet.extend([0x5a; 40]);
        // In IPv6 the kernel puts in its own, which covers the addresses too.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The sequence number of an echo reply to `identifier`.
    fn answer(self, packet: &[u8], identifier: u16) -> Option<u16> {
        let header = if self.shows_header { usize::from(packet.first()? & 0xf) * 4 } else { 0 };
        match packet.get(header..header + 8)? {
            [kind, 0, _, _, i1, i2, s1, s2] if *kind == self.reply && u16::from_be_bytes([*i1, *i2]) == identifier => {
                Some(u16::from_be_bytes([*s1, *s2]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_our_own_echo_is_an_answer() {
        for (dialect, header) in [(V4, vec![0x45; 20]), (V6, Vec::new())] {
            let mut packet = header;
            let at = packet.len();
            packet.extend(dialect.echo(7, 300, Marker::GUEST));
            assert_eq!(dialect.answer(&packet, 7), None, "a request is not a reply");
            packet[at] = dialect.reply;
            assert_eq!(dialect.answer(&packet, 7), Some(300));
            assert_eq!(dialect.answer(&packet, 8), None);
            assert_eq!(dialect.answer(&packet[..at + 4], 7), None);
        }
    }
}
