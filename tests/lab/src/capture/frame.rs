//! What an Ethernet frame says about the flow it belongs to.

use std::fmt;
use std::net::Ipv4Addr;

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
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
}

impl FiveTuple {
    /// Of an Ethernet frame with UDP or TCP over IPv4; none otherwise, and for later fragments.
    pub fn of(frame: &[u8]) -> Option<FiveTuple> {
        let (ethernet, ip) = frame.split_at_checked(14)?;
        if ethernet[12..14] != [0x08, 0x00] || ip.len() < 20 || ip[0] >> 4 != 4 {
            return None;
        }
        let transport = match ip[9] {
            17 => Transport::Udp,
            6 => Transport::Tcp,
            _ => return None,
        };
        if u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0 {
            return None;
        }
        let ports = ip.get(usize::from(ip[0] & 0xf) * 4..)?;
        let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        Some(FiveTuple { transport, source: (address(12), port(0)?), destination: (address(16), port(2)?) })
    }

    /// The same flow seen the other way.
    pub fn reversed(self) -> FiveTuple {
        FiveTuple { source: self.destination, destination: self.source, ..self }
    }
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let ((source, from), (destination, to)) = (self.source, self.destination);
        write!(f, "{transport} {source}:{from} > {destination}:{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_frame() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x9c, 0x41, 0x13, 0x89, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn addresses_and_ports_are_read() {
        let tuple = FiveTuple::of(&udp_frame()).expect("this is UDP over IPv4");
        assert_eq!(tuple.to_string(), "udp 10.0.0.1:40001 > 10.0.0.2:5001");
        assert_eq!(tuple.reversed().to_string(), "udp 10.0.0.2:5001 > 10.0.0.1:40001");
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
