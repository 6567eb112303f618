//! Checksums that the worker completes for the kernel.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::net::{Net, visit};

const PORT: u16 = 9_000;

#[test]
fn a_udp_checksum_that_comes_to_zero_is_sent_as_all_ones() {
    let net = Net::connected();
    let client = visit(&net.a.netns, || UdpSocket::bind((net.a.address, PORT)).unwrap());
    let _server = visit(&net.b.netns, || UdpSocket::bind((net.b.address, PORT)).unwrap());
    let witness = visit(&net.b.netns, raw_udp);
    witness.set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    // Pseudo header, then ports and length; the payload makes up what is missing to all ones, whose complement is zero.
    let [a, b] = [net.a.address, net.b.address].map(|address| address.octets());
    let length = 10;
    let words = [
        u16::from_be_bytes([a[0], a[1]]),
        u16::from_be_bytes([a[2], a[3]]),
        u16::from_be_bytes([b[0], b[1]]),
        u16::from_be_bytes([b[2], b[3]]),
        17,
        length,
        PORT,
        PORT,
        length,
    ];
    let sum: u32 = words.into_iter().map(u32::from).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let missing = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    client.send_to(&missing.to_be_bytes(), SocketAddr::from((net.b.address, PORT))).unwrap();

    let mut packet = [0; 64];
    loop {
        let length = witness.recv(&mut packet).unwrap();
        let udp = &packet[20..length];
        if udp[2..4] == PORT.to_be_bytes() {
            assert_eq!(udp[8..], missing.to_be_bytes());
            assert_eq!(udp[6..8], [0xff, 0xff]);
            return;
        }
    }
}

/// A socket that sees every UDP packet with its headers. The type fits: it is only read from.
fn raw_udp() -> UdpSocket {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp).unwrap();
    UdpSocket::from(raw)
}
