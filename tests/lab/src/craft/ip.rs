//! IP packets of both families, and the frames that carry them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Mac;

/// An IPv4 header. Length and checksum are reckoned when the packet is made.
#[derive(Debug, Clone)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub id: u16,
    /// Flags in the upper three bits, then the offset in units of 8 bytes.
    pub fragment: u16,
    pub ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// A multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
}

/// Flags of [`Ipv4::fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// IPv6's extension header of fragments.
const FRAGMENT_HEADER: u8 = 44;

impl Ipv4 {
    /// The header of a packet like any host's: it may not be cut up, and lives for 64 hops.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Ipv4 {
        let options = Vec::new();
        Ipv4 { source, destination, protocol, id: 0, fragment: DONT_FRAGMENT, ttl: 64, tos: 0, options }
    }

    /// The packet with `payload`.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut packet = vec![0x40 | (header / 4) as u8, self.tos];
        packet.extend(((header + payload.len()) as u16).to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// An IPv6 header. Its length is reckoned when the packet is made.
#[derive(Debug, Clone)]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// Protocol of the payload, or of the extension header with which it begins.
    pub next: u8,
    pub hop_limit: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
}

impl Ipv6 {
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, next: u8) -> Ipv6 {
        Ipv6 { source, destination, next, hop_limit: 64, traffic_class: 0 }
    }

    /// The packet with `payload`.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([self.next, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(payload);
        packet
    }
}

/// A plain packet of the family of `source`.
///
/// # Panics
/// When the two addresses are of different families.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ipv4::new(source, destination, protocol).packet(payload),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ipv6::new(source, destination, protocol).packet(payload),
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// The frame that carries an IP packet on a wire.
pub fn ethernet(source: Mac, destination: Mac, packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let mut frame = [destination, source].concat();
    frame.extend(if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(packet);
    frame
}

/// An IP packet without options, cut up so that no fragment is longer than `mtu` bytes; `id` joins them.
pub fn fragments(packet: &[u8], mtu: usize, id: u16) -> Vec<Vec<u8>> {
    let is_v6 = packet[0] >> 4 == 6;
    let (header, payload) = packet.split_at(if is_v6 { 40 } else { 20 });
    let overhead = header.len() + if is_v6 { 8 } else { 0 };
    // Offsets count 8 bytes.
    let step = (mtu - overhead) / 8 * 8;
    let pieces = payload.len().div_ceil(step);
    let piece = |(number, piece): (usize, &[u8])| {
        let (offset, more) = ((number * step / 8) as u16, number + 1 < pieces);
        let mut fragment = header.to_vec();
        if is_v6 {
            fragment[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
            fragment[6] = FRAGMENT_HEADER;
            fragment.extend([header[6], 0]);
            fragment.extend((offset << 3 | u16::from(more)).to_be_bytes());
            fragment.extend(u32::from(id).to_be_bytes());
        } else {
            fragment[2..4].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
            fragment[4..6].copy_from_slice(&id.to_be_bytes());
            fragment[6..8].copy_from_slice(&(offset | if more { MORE_FRAGMENTS } else { 0 }).to_be_bytes());
            fragment[10..12].fill(0);
            let sum = checksum(&fragment);
            fragment[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        fragment.extend(piece);
        fragment
    };
    payload.chunks(step).enumerate().map(piece).collect()
}

/// The internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[test]
    fn the_checksum_of_a_header_with_its_checksum_in_place_is_zero() {
        let packet = Ipv4 { options: vec![1; 8], ..Ipv4::new(V4, V4, 17) }.packet(b"payload");
        assert_eq!(packet[0], 0x47);
        assert_eq!(checksum(&packet[..28]), 0);
        assert_ne!(packet[10..12], [0, 0]);
    }

    #[test]
    fn fragments_hold_the_whole_payload_once() {
        let payload: Vec<u8> = (0..1_000_u32).map(|number| number as u8).collect();
        let source: IpAddr = "fd00::1".parse().unwrap();
        for (packet, header) in [(ip(V4.into(), V4.into(), 17, &payload), 20), (ip(source, source, 17, &payload), 48)] {
            let pieces = fragments(&packet, 400, 7);
            assert!(pieces.len() == 3 && pieces.iter().all(|piece| piece.len() <= 400));
            let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece[header..].to_vec()).collect();
            assert_eq!(whole, payload);
        }
    }
}
