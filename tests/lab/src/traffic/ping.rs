//! Ping: ICMP echoes at a steady pace, each answer matched with its question.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, SockaddrIn, sendto};

use crate::clock;
use crate::host::Host;
use crate::network::dhcp::checksum;

const PERIOD: Duration = Duration::from_millis(100);
/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_millis(1_500);
const ECHO_REQUEST: u8 = 8;

/// Pings `to` from `host` between `start` and `end`; returns how many echoes were never answered.
///
/// # Errors
/// Without CAP_NET_RAW.
pub fn start(
    host: &Host,
    to: Ipv4Addr,
    identifier: u16,
    (start, end): (Duration, Duration),
) -> Result<JoinHandle<Result<u64>>> {
    host.net.thread("ping", move || {
        let socket = raw_socket()?;
        let target = SockaddrIn::from(SocketAddrV4::new(to, 0));
        let mut waiting = BTreeSet::new();
        let mut due = start;
        let mut sequence = 0_u16;
        while due < end {
            answers(&socket, identifier, due, &mut waiting);
            let _ = sendto(socket.as_raw_fd(), &echo(identifier, sequence), &target, MsgFlags::empty());
            waiting.insert(sequence);
            sequence += 1;
            due += PERIOD;
        }
        let deadline = clock::now() + PATIENCE;
        while !waiting.is_empty() && clock::now() < deadline {
            answers(&socket, identifier, clock::now() + PERIOD, &mut waiting);
        }
        Ok(waiting.len() as u64)
    })
}

fn raw_socket() -> Result<OwnedFd> {
    // SAFETY: a plain system call; the descriptor it returns is owned by nobody else.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP);
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("opening a socket for ICMP");
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes answers off `waiting` until `deadline`.
fn answers(socket: &OwnedFd, identifier: u16, deadline: Duration, waiting: &mut BTreeSet<u16>) {
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
            && let Some(sequence) = answer(&bytes[..length], identifier)
        {
            waiting.remove(&sequence);
        }
    }
}

fn echo(identifier: u16, sequence: u16) -> Vec<u8> {
    let mut packet = vec![ECHO_REQUEST, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend([0x5a; 56]);
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sequence number of an echo reply to `identifier`, in an IPv4 packet.
fn answer(packet: &[u8], identifier: u16) -> Option<u16> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    match packet.get(header..header + 8)? {
        [0, 0, _, _, i1, i2, s1, s2] if u16::from_be_bytes([*i1, *i2]) == identifier => {
            Some(u16::from_be_bytes([*s1, *s2]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_our_own_echo_is_an_answer() {
        let mut packet = vec![0x45; 20];
        packet.extend(echo(7, 300));
        assert_eq!(answer(&packet, 7), None, "a request is not a reply");
        packet[20] = 0;
        assert_eq!(answer(&packet, 7), Some(300));
        assert_eq!(answer(&packet, 8), None);
        assert_eq!(answer(&packet[..24], 7), None);
    }
}
