//! Explicit congestion notification through a tunnel, as RFC 6040 has it: a datagram carries the mark of the packet
//! inside, and congestion met by the datagram reaches the packet.

/// The low two bits of IPv4's type of service and of IPv6's traffic class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ecn {
    /// The flow does not know ECN: it is to be told of congestion by losses.
    #[default]
    NotEct,
    Ect1,
    Ect0,
    /// Congestion was experienced.
    Ce,
}

impl Ecn {
    /// Of a type of service or traffic class.
    pub(crate) fn of_class(class: u8) -> Ecn {
        [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce][usize::from(class & 3)]
    }

    /// As a type of service or traffic class, with the bits above it zero.
    pub(crate) fn class(self) -> u8 {
        self as u8
    }

    /// Of an IPv4 packet.
    pub(crate) fn of_packet(packet: &[u8]) -> Ecn {
        packet.get(1).map_or(Ecn::NotEct, |class| Ecn::of_class(*class))
    }
}

/// Folds the mark of a datagram into the IPv4 packet that came inside (RFC 6040, figure 4). False: the packet is to be
/// dropped, which is how a flow that does not know ECN learns of congestion.
pub(crate) fn decapsulate(outer: Ecn, packet: &mut [u8]) -> bool {
    let folded = match (Ecn::of_packet(packet), outer) {
        (Ecn::NotEct, Ecn::Ce) => return false,
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Ecn::Ce,
        (Ecn::Ect0, Ecn::Ect1) => Ecn::Ect1,
        _ => return true,
    };
    set(packet, folded);
    true
}

/// Marks an IPv4 packet and corrects its header's checksum (RFC 1624, equation 3).
fn set(packet: &mut [u8], ecn: Ecn) {
    let [version, class, .., high, low] = &mut packet[..12] else { unreachable!("twelve bytes") };
    let word = |class: u8| u32::from(u16::from_be_bytes([*version, class]));
    let marked = *class & !3 | ecn.class();
    let sum = u32::from(!u16::from_be_bytes([*high, *low])) + (word(*class) ^ 0xffff) + word(marked);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    [*high, *low] = (!(sum as u16)).to_be_bytes();
    *class = marked;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

    /// A header with this class and a right checksum.
    fn header(class: u8) -> Vec<u8> {
        let mut header = vec![0x45, class, 0, 40, 0x12, 0x34, 0x40, 0, 63, 17, 0, 0, 10, 100, 0, 1, 10, 100, 0, 2];
        let sum = !checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// The ones' complement sum; 0xffff over a header whose checksum is right.
    fn checksum(header: &[u8]) -> u16 {
        let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn every_pair_of_marks_becomes_what_the_rfc_says() {
        use Ecn::*;
        // By inner mark, then by outer one, both in the order of `ALL`; none: dropped.
        let expected = [
            [Some(NotEct), Some(NotEct), Some(NotEct), None],
            [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)],
            [Some(Ect0), Some(Ect1), Some(Ect0), Some(Ce)],
            [Some(Ce), Some(Ce), Some(Ce), Some(Ce)],
        ];
        for (inner, row) in ALL.into_iter().zip(expected) {
            for (outer, expected) in ALL.into_iter().zip(row) {
                // With a DSCP, which is nobody's business.
                let mut packet = header(0xb8 | inner.class());
                let kept = decapsulate(outer, &mut packet).then(|| Ecn::of_packet(&packet));
                assert_eq!(kept, expected, "{inner:?} in {outer:?}");
                assert_eq!(packet[1] & !3, 0xb8);
                assert_eq!(checksum(&packet), 0xffff, "{inner:?} in {outer:?}: the checksum is right afterwards");
            }
        }
    }

    #[test]
    fn checksums_next_to_overflow_stay_right() {
        for id in 0..=u16::MAX {
            let mut packet = header(2);
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            packet[10..12].fill(0);
            let sum = !checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            assert!(decapsulate(Ecn::Ce, &mut packet));
            assert_eq!(checksum(&packet), 0xffff, "{id}");
        }
    }
}
