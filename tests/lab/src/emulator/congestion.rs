//! Marking a frame as having met congestion, as a router does instead of dropping it (RFC 3168).

/// The two bits of ECN: 00 not understood, 01 and 10 understood, 11 congestion experienced.
const ECN: u8 = 0b11;
/// Bytes of Ethernet before the IP packet.
const ETHERNET: usize = 14;

/// Marks `frame` if its sender says that it understands marks and it has none yet. True when it did.
pub(super) fn mark(frame: &mut [u8]) -> bool {
    let Some((ethernet, ip)) = frame.split_at_mut_checked(ETHERNET) else { return false };
    match (ethernet[12], ethernet[13], ip.len()) {
        (0x08, 0x00, 20..) => mark_v4(ip),
        (0x86, 0xdd, 40..) => mark_v6(ip),
        _ => false,
    }
}

fn understood(ecn: u8) -> bool {
    ecn == 0b01 || ecn == 0b10
}

fn mark_v4(ip: &mut [u8]) -> bool {
    if !understood(ip[1] & ECN) {
        return false;
    }
    let old = u16::from_be_bytes([ip[0], ip[1]]);
    ip[1] |= ECN;
    let new = u16::from_be_bytes([ip[0], ip[1]]);
    // RFC 1624: the checksum changes by as much as the word it covers.
    let sum = u32::from(!u16::from_be_bytes([ip[10], ip[11]])) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    true
}

/// In IPv6 the traffic class lies across the first two bytes, and no checksum covers it.
fn mark_v6(ip: &mut [u8]) -> bool {
    if !understood(ip[1] >> 4 & ECN) {
        return false;
    }
    ip[1] |= ECN << 4;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::checksum;

    fn v4(tos: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, tos, 0, 20, 0, 7, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = checksum(&frame[14..]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn only_packets_that_understand_marks_are_marked_and_their_checksum_stays_right() {
        for dscp in 0..64 {
            for ecn in 0..4 {
                let mut frame = v4(dscp << 2 | ecn);
                assert_eq!(mark(&mut frame), ecn == 1 || ecn == 2);
                assert_eq!(frame[15], if ecn == 0 { dscp << 2 } else { dscp << 2 | 3 });
                assert_eq!(checksum(&frame[14..]), 0, "dscp {dscp} ecn {ecn}");
            }
        }
    }

    #[test]
    fn the_other_bits_of_an_ipv6_header_stay() {
        for ecn in 0..4 {
            let mut frame = vec![0; 14 + 40];
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame[14..18].copy_from_slice(&[0x6b, 0x8f | ecn << 4, 0x12, 0x34]);
            let understood = ecn == 1 || ecn == 2;
            assert_eq!(mark(&mut frame), understood);
            let after = if understood { 3 } else { ecn };
            assert_eq!(frame[14..18], [0x6b, 0x8f | after << 4, 0x12, 0x34]);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_left_alone() {
        let whole = v4(1);
        for length in 0..34 {
            let mut frame = whole[..length].to_vec();
            assert!(!mark(&mut frame));
        }
    }
}
