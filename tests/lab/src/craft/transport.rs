//! What IP packets carry: UDP, TCP, and the GRE that a forger would send.

use std::net::{IpAddr, SocketAddr};

use super::ip::{checksum, ip};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Flags of a TCP segment.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const PUSH_ACK: u8 = 0x18;

/// A UDP datagram in an IP packet of the family of `source`.
///
/// # Panics
/// When the two addresses are of different families.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let sum = match covered(source.ip(), destination.ip(), UDP, &datagram) {
        // On the wire 0 says that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source.ip(), destination.ip(), UDP, &datagram)
}

/// A TCP segment without options.
#[derive(Debug, Clone, Copy)]
pub struct Tcp {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
}

impl Tcp {
    /// The IP packet with this segment and `payload`.
    ///
    /// # Panics
    /// When the two addresses are of different families.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut segment = ports(self.source, self.destination);
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        // Five words of header, the largest window, no checksum yet, nothing urgent.
        segment.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = covered(self.source.ip(), self.destination.ip(), TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        ip(self.source.ip(), self.destination.ip(), TCP, &segment)
    }
}

/// A GRE header with key and sequence (RFC 2890).
#[derive(Debug, Clone, Copy)]
pub struct Gre {
    /// The EtherType of what is inside.
    pub protocol: u16,
    pub key: u32,
    pub sequence: u32,
}

impl Gre {
    /// Protocol number in an IP header.
    pub const PROTOCOL: u8 = 47;

    /// The payload of an IP packet with this header and `inner`.
    pub fn payload(&self, inner: &[u8]) -> Vec<u8> {
        // Flags: key and sequence are there; version 0.
        let mut payload = vec![0x30, 0x00];
        payload.extend(self.protocol.to_be_bytes());
        payload.extend(self.key.to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        payload.extend(inner);
        payload
    }
}

fn ports(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat()
}

/// The checksum over a pseudo header and `payload`, whose own checksum is still zero.
fn covered(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut bytes = [octets(source), octets(destination)].concat();
    // In both families length and protocol come to the same sum, whatever their widths.
    bytes.extend([0, protocol]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    checksum(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_rfc_1071s_words_is_what_the_rfc_says() {
        // RFC 1071, section 3: 0001 f203 f4f5 f6f7 sum to ddf2.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_gre_header_is_twelve_bytes_with_key_and_sequence() {
        let payload = Gre { protocol: 0x0800, key: 1, sequence: 2 }.payload(b"x");
        assert_eq!(payload, [0x30, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 2, b'x']);
    }
}
