//! Control packets as bytes: what an edge sends to make a switch known.

use std::net::Ipv4Addr;

/// GRE protocol of control packets: IEEE Std 802 local experimental ethertype 1.
const PROTOCOL: u16 = 0x88b5;
/// Message type "switch".
const SWITCH: u8 = 1;
/// Outer IPv4, GRE with key and sequence, message.
pub const LENGTH: usize = 20 + 12 + 24;

/// A switch of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchMessage {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// 0-31.
    pub epoch: u8,
    pub class: u8,
    pub active: u8,
    /// Bit k-1: slot k.
    pub copies: u8,
    pub counter: u64,
    pub nonce: u64,
}

impl SwitchMessage {
    /// The whole packet from its outer IPv4 header on. Header checksum and identification are left to the kernel,
    /// which fills them in on a raw socket (raw(7)).
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut packet = [0; LENGTH];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(LENGTH as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&0x4000u16.to_be_bytes());
        packet[8] = 64;
        packet[9] = 47;
        packet[12..16].copy_from_slice(&self.source.octets());
        packet[16..20].copy_from_slice(&self.destination.octets());
        packet[20..22].copy_from_slice(&0x3000u16.to_be_bytes());
        packet[22..24].copy_from_slice(&PROTOCOL.to_be_bytes());
        // class 0 is what makes it control; the copy set and serial of the key belong to data
        packet[24..28].copy_from_slice(&(u32::from(self.epoch & 31) << 24).to_be_bytes());
        packet[28..32].copy_from_slice(&(self.nonce as u32).to_be_bytes());
        packet[32] = SWITCH;
        packet[33] = self.class;
        packet[34] = self.active;
        packet[35] = self.copies;
        packet[40..48].copy_from_slice(&self.counter.to_be_bytes());
        packet[48..56].copy_from_slice(&self.nonce.to_be_bytes());
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_message_has_the_documented_bytes() {
        let packet = SwitchMessage {
            source: Ipv4Addr::new(10, 100, 0, 2),
            destination: Ipv4Addr::new(10, 100, 0, 1),
            epoch: 3,
            class: 2,
            active: 1,
            copies: 0b10,
            counter: 7,
            nonce: 9,
        }
        .to_bytes();
        assert_eq!(packet[..4], [0x45, 0, 0, 56]);
        assert_eq!(packet[20..28], [0x30, 0, 0x88, 0xb5, 3, 0, 0, 0]);
        assert_eq!(packet[32..40], [1, 2, 1, 2, 0, 0, 0, 0]);
        assert_eq!((packet[47], packet[55]), (7, 9));
    }
}
