//! What a packet says: whether it is ours in clear, and what its shim and the packet inside it say.

/// Bytes of Ethernet before an IP packet.
const ETHERNET: usize = 14;
const GRE: u8 = 47;
/// Every datagram of the lab's traffic begins with this; behind encryption it comes up once in 2^64 places.
const MARKER: &[u8] = b"pslab\0\0\x01";
/// GRE protocols: packets of both families; control packets have another.
const INNER: [u16; 2] = [0x0800, 0x86dd];

/// What PathSteer must not let onto a WAN in this Ethernet frame, if there is any of it.
pub fn leak(frame: &[u8]) -> Option<&'static str> {
    if frame.windows(MARKER.len()).any(|window| window == MARKER) {
        return Some("payload");
    }
    overlay(frame)
}

/// What of the fabric's own is to be seen in this Ethernet frame.
pub fn overlay(frame: &[u8]) -> Option<&'static str> {
    let ip = frame.get(ETHERNET..)?;
    if frame[12..14] != [0x08, 0x00] || ip.len() < 20 {
        return None;
    }
    let is_overlay = |at: usize| ip[at..at + 2] == [10, 100];
    if is_overlay(12) || is_overlay(16) {
        return Some("overlay address");
    }
    (ip[9] == GRE).then_some("GRE")
}

/// What a shimmed packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shimmed {
    pub class: u8,
    /// Source and destination port of the UDP packet inside.
    pub ports: (u16, u16),
}

impl Shimmed {
    /// Of an IP packet as it is on a tunnel; none for control packets and for what is not UDP inside.
    pub fn of(packet: &[u8]) -> Option<Shimmed> {
        let header = usize::from(packet.first()? & 0xf) * 4;
        if packet[0] >> 4 != 4 || *packet.get(9)? != GRE {
            return None;
        }
        let gre = packet.get(header..header + 12)?;
        let two = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        if !INNER.contains(&two(gre, 2)?) {
            return None;
        }
        let key = u32::from_be_bytes(gre[4..8].try_into().ok()?);
        let inner = packet.get(header + 12..)?;
        let (protocol, length) = match inner.first()? >> 4 {
            4 => (*inner.get(9)?, usize::from(inner[0] & 0xf) * 4),
            _ => (*inner.get(6)?, 40),
        };
        let udp = inner.get(length..)?;
        (protocol == 17).then_some(())?;
        Some(Shimmed { class: (key >> 20 & 0xf) as u8, ports: (two(udp, 0)?, two(udp, 2)?) })
    }
}
