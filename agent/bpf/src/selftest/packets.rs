//! The self-test's packets: many segments in one, and what becomes of them.

use std::{collections::BTreeSet, fmt};

use super::ground::{CLIENT4, CLIENT6, GATEWAY_MAC, SENDER_MAC, SERVER4, SERVER6};

/// Payload bytes of a segment: with every header less than the smallest MTU on the way.
pub const SEGMENT: usize = 1_023;
/// Segments of each packet: as many as the kernel's own large packets have, and at last so many that IP has no room for
/// the shim any more.
pub const PACKETS: [usize; 3] = [40, 40, 64];
const ETHERNET: usize = 14;
const TCP: usize = 20;

/// Payloads that arrived, by the position that they carry.
pub type Segments = BTreeSet<u32>;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Tcp,
    TcpFixedId,
    Tcp6,
    Udp,
    /// TCP in a tunnel of somebody's own.
    TcpInGre,
}

impl Shape {
    /// Those that pass whole first: where they do not, that is what is reported.
    pub const ALL: [Shape; 5] = [Shape::Tcp, Shape::Tcp6, Shape::Udp, Shape::TcpFixedId, Shape::TcpInGre];

    /// Whether its packets come to the shim whole. The others are merged on the way and cut up again before the shim.
    pub fn comes_whole(self) -> bool {
        self.treatment().is_none()
    }

    /// The program that makes the shape of plain TCP.
    pub fn treatment(self) -> Option<&'static str> {
        match self {
            Shape::Tcp | Shape::Tcp6 | Shape::Udp => None,
            Shape::TcpFixedId => Some("ps_fixed_id"),
            Shape::TcpInGre => Some("ps_in_gre"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Shape::Tcp => "TCP",
            Shape::TcpFixedId => "TCP with a fixed IP ID",
            Shape::Tcp6 => "TCP over IPv6",
            Shape::Udp => "UDP",
            Shape::TcpInGre => "TCP in GRE",
        })
    }
}

/// Everything that a shape's segments carry.
pub fn all() -> Segments {
    (0..PACKETS.iter().sum::<usize>() as u32).collect()
}

/// The payload of packet `number`: every segment of it begins with its own position.
pub fn payload(number: usize) -> Vec<u8> {
    let mut payload = vec![0; SEGMENT * PACKETS[number]];
    for (index, segment) in payload.chunks_mut(SEGMENT).enumerate() {
        segment[..4].copy_from_slice(&((before(number) + index) as u32).to_be_bytes());
    }
    payload
}

/// Segments of the packets before packet `number`.
fn before(number: usize) -> usize {
    PACKETS[..number].iter().sum()
}

/// The position that a packet with an Ethernet header carries, if it is a whole segment of ours.
pub fn segment(packet: &[u8]) -> Option<u32> {
    const GRE: usize = 4;
    let (header, protocol) = if packet.get(12..14)? == [8, 0] { (20, 9) } else { (40, 6) };
    let is = |at: usize, wanted: i32| packet.get(at + protocol).map(|found| i32::from(*found) == wanted);
    let at = if is(ETHERNET, libc::IPPROTO_GRE)? { ETHERNET + header + GRE } else { ETHERNET };
    let data = at + header + if is(at, libc::IPPROTO_TCP)? { TCP } else { 8 };
    (packet.len() == data + SEGMENT).then_some(())?;
    Some(u32::from_be_bytes(packet.get(data..data + 4)?.try_into().ok()?))
}

/// `struct virtio_net_hdr` and a frame whose TCP payload is many segments.
pub fn tcp(number: usize, v6: bool) -> Vec<u8> {
    const NEEDS_CHECKSUM: u8 = 1;
    let data = payload(number);
    let (header, gso_type) = if v6 { (40, 4) } else { (20, 1) };
    let length = (TCP + data.len()) as u16;
    let mut frame = vec![NEEDS_CHECKSUM, gso_type];
    for field in [ETHERNET + header + TCP, SEGMENT, ETHERNET + header, 16] {
        frame.extend((field as u16).to_ne_bytes());
    }
    frame.extend(GATEWAY_MAC);
    frame.extend(SENDER_MAC);
    // the kernel finishes the checksum; it begins with the pseudo header's sum (RFC 9293, 3.1)
    let mut addresses = Vec::new();
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([libc::IPPROTO_TCP as u8, 64]);
        addresses.extend(CLIENT6.octets().into_iter().chain(SERVER6.octets()));
        frame.extend(&addresses);
    } else {
        addresses.extend(CLIENT4.octets().into_iter().chain(SERVER4.octets()));
        let mut ip = vec![0x45, 0];
        ip.extend((length + 20).to_be_bytes());
        ip.extend([0, 1, 0x40, 0, 64, libc::IPPROTO_TCP as u8, 0, 0]);
        ip.extend(&addresses);
        let checksum = !folded(sum(&ip));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend([8, 0]);
        frame.extend(ip);
    }
    frame.extend([0x13, 0x88, 0x13, 0x89]);
    frame.extend(((before(number) * SEGMENT) as u32).to_be_bytes());
    frame.extend([0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff]); // acknowledgement, header length, ACK, window
    frame.extend(folded(sum(&addresses) + libc::IPPROTO_TCP as u32 + u32::from(length)).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(data);
    frame
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
