//! A DHCP client reduced to its first question: who leases addresses on this wire?

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::capture::PacketSocket;
use crate::clock;
use crate::craft::{Ipv4, ethernet};
use crate::host::Host;

/// What a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub address: Ipv4Addr,
    pub router: Ipv4Addr,
}

const MAC: [u8; 6] = [0x02, 0x6c, 0x61, 0x62, 0x00, 0x01];
const TRANSACTION: [u8; 4] = *b"lab0";
/// Where a BOOTP message starts in an Ethernet frame, and where its options do (RFC 2131).
const BOOTP: usize = 14 + 20 + 8;
const OPTIONS: usize = BOOTP + 240;

/// Broadcasts a DISCOVER on `interface` of `host` and returns the first offer.
///
/// # Errors
/// When none comes within five seconds.
pub fn discover(host: &Host, interface: &str) -> Result<Offer> {
    host.net.run(|| {
        let socket = PacketSocket::open(interface)?;
        let deadline = clock::now() + Duration::from_secs(5);
        let mut frame = [0; 1_500];
        while clock::now() < deadline {
            socket.send(&discover_frame()).with_context(|| format!("sending on {interface}"))?;
            let again = clock::now() + Duration::from_millis(500);
            while clock::now() < again {
                if let Some(offer) = receive(&socket, &mut frame).and_then(read_offer) {
                    return Ok(offer);
                }
            }
        }
        bail!("nobody on {interface} of {} offered a lease within 5 s", host.name)
    })
}

fn receive<'a>(socket: &PacketSocket, frame: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, alive until the call returns; then a read into a slice of that length.
    let length = unsafe {
        libc::poll(&mut poll, 1, 50);
        libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(length).ok().map(|length| &frame[..length])
}

fn discover_frame() -> Vec<u8> {
    let mut bootp = vec![0; 240];
    bootp[..4].copy_from_slice(&[1, 1, 6, 0]);
    bootp[4..8].copy_from_slice(&TRANSACTION);
    // Flag: answer by broadcast, because no address is configured yet.
    bootp[10] = 0x80;
    bootp[28..34].copy_from_slice(&MAC);
    bootp[236..240].copy_from_slice(&[99, 130, 83, 99]);
    // Message type DISCOVER, ask for netmask and router, end.
    bootp.extend([53, 1, 1, 55, 2, 1, 3, 255]);

    let mut datagram = Vec::new();
    datagram.extend(68_u16.to_be_bytes());
    datagram.extend(67_u16.to_be_bytes());
    datagram.extend(((8 + bootp.len()) as u16).to_be_bytes());
    // No UDP checksum: allowed over IPv4.
    datagram.extend([0, 0]);
    datagram.extend(bootp);
    let packet = Ipv4::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 17).packet(&datagram);
    ethernet(MAC, [0xff; 6], &packet)
}

fn read_offer(frame: &[u8]) -> Option<Offer> {
    let ours = frame.len() > OPTIONS
        && frame[12..14] == [0x08, 0x00]
        && frame[23] == 17
        && frame[BOOTP] == 2
        && frame[BOOTP + 4..BOOTP + 8] == TRANSACTION;
    if !ours {
        return None;
    }
    let address: [u8; 4] = frame[BOOTP + 16..BOOTP + 20].try_into().ok()?;
    let mut options = &frame[OPTIONS..];
    while let [code, length, rest @ ..] = options {
        let value = rest.get(..usize::from(*length))?;
        if *code == 3 {
            let router: [u8; 4] = value.get(..4)?.try_into().ok()?;
            return Some(Offer { address: address.into(), router: router.into() });
        }
        options = &rest[usize::from(*length)..];
    }
    None
}
