//! What an Ethernet frame says about the flow it belongs to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// UDP or TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The five things that name a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiveTuple {
    pub transport: Transport,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

impl FiveTuple {
    /// Of an Ethernet frame with UDP or TCP over IP; none otherwise, for later fragments, and behind extension headers.
    pub fn of(frame: &[u8]) -> Option<FiveTuple> {
        let (ethernet, ip) = frame.split_at_checked(14)?;
        let (protocol, addresses, ports) = match (&ethernet[12..14], ip.first()? >> 4) {
            ([0x08, 0x00], 4) => v4(ip)?,
            ([0x86, 0xdd], 6) => v6(ip)?,
            _ => return None,
        };
        let transport = match protocol {
            17 => Transport::Udp,
            6 => Transport::Tcp,
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
        Some(FiveTuple { transport, source: (addresses[0], port(0)?), destination: (addresses[1], port(2)?) })
    }

    /// The same flow seen the other way.
    pub fn reversed(self) -> FiveTuple {
        FiveTuple { source: self.destination, destination: self.source, ..self }
    }
}

/// Protocol, source and destination, and what follows the header.
type Parts<'a> = (u8, [IpAddr; 2], &'a [u8]);

fn v4(ip: &[u8]) -> Option<Parts<'_>> {
    let header = ip.first_chunk::<20>()?;
    if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into();
    Some((header[9], [address(12), address(16)], ip.get(usize::from(header[0] & 0xf) * 4..)?))
}

fn v6(ip: &[u8]) -> Option<Parts<'_>> {
    let (header, rest) = ip.split_at_checked(40)?;
    let address = |at: usize| Some(Ipv6Addr::from(*header[at..].first_chunk::<16>()?).into());
    Some((header[6], [address(8)?, address(24)?], rest))
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let ((source, from), (destination, to)) = (self.source, self.destination);
        write!(f, "{transport} {} > {}", SocketAddr::new(source, from), SocketAddr::new(destination, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{ethernet, udp};

    fn udp_frame() -> Vec<u8> {
        let (from, to) = ("10.0.0.1:40001".parse().unwrap(), "10.0.0.2:5001".parse().unwrap());
        ethernet([0; 6], [0; 6], &udp(from, to, b""))
    }

    #[test]
    fn addresses_and_ports_are_read() {
        let tuple = FiveTuple::of(&udp_frame()).expect("this is UDP over IPv4");
        assert_eq!(tuple.to_string(), "udp 10.0.0.1:40001 > 10.0.0.2:5001");
        assert_eq!(tuple.reversed().to_string(), "udp 10.0.0.2:5001 > 10.0.0.1:40001");
    }

    #[test]
    fn the_same_is_read_in_ipv6() {
        let (from, to) = ("[fd00::1]:40001".parse().unwrap(), "[fd00::2]:5001".parse().unwrap());
        let frame = ethernet([0; 6], [0; 6], &udp(from, to, b""));
        assert_eq!(FiveTuple::of(&frame).unwrap().to_string(), "udp [fd00::1]:40001 > [fd00::2]:5001");
        for length in 0..14 + 40 + 4 {
            assert_eq!(FiveTuple::of(&frame[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_no_flow_but_no_panic() {
        let frame = udp_frame();
        for length in 0..14 + 20 + 4 {
            assert_eq!(FiveTuple::of(&frame[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut frame = udp_frame();
        frame[14 + 7] = 10;
        assert_eq!(FiveTuple::of(&frame), None);
    }
}
