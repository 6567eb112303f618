//! Trains: datagrams that the kernel takes in one piece and cuts up again as late as it can (UDP_SEGMENT). What a
//! datagram costs on its way is mostly the way, and a train goes it once.

use crate::underlay::Datagram;

/// Datagrams of a train at most: UDP_MAX_SEGMENTS of kernels before 6.9, later ones take 128.
const MAX_LENGTH: usize = 64;
/// Bytes of a train at most: an IP packet's 65,535 without the headers of IPv6 and UDP.
const MAX_BYTES: usize = 65_535 - 40 - 8;

/// Cuts `datagrams` into trains, in their order: all of a train go to one peer with one mark, and have one size but for
/// the last, which may be shorter. A datagram that goes with no other is a train by itself.
pub(crate) fn couple(mut datagrams: &[Datagram]) -> Vec<&[Datagram]> {
    let mut trains = Vec::new();
    while let Some(first) = datagrams.first() {
        let (train, rest) = datagrams.split_at(1 + followers(first, &datagrams[1..]));
        trains.push(train);
        datagrams = rest;
    }
    trains
}

/// What the kernel is to cut a train into, in bytes; none if it is a single datagram.
pub(crate) fn segment(train: &[Datagram]) -> Option<u16> {
    match train {
        [first, _, ..] => u16::try_from(first.packet.len()).ok(),
        _ => None,
    }
}

/// How many of `next` go with `first`.
fn followers(first: &Datagram, next: &[Datagram]) -> usize {
    let size = first.packet.len();
    let room = (MAX_BYTES / size.max(1)).clamp(1, MAX_LENGTH) - 1;
    let goes_with = |datagram: &&Datagram| {
        datagram.peer == first.peer && datagram.ecn == first.ecn && datagram.packet.len() <= size
    };
    let fitting = next.iter().take(room).take_while(goes_with);
    let mut count = 0;
    for datagram in fitting {
        count += 1;
        if datagram.packet.len() < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecn::Ecn;
    use bytes::BytesMut;
    use gotatun::packet::Packet;

    fn datagram(size: usize, port: u16, ecn: Ecn) -> Datagram {
        Datagram { packet: Packet::from_bytes(BytesMut::zeroed(size)), peer: ([192, 0, 2, 1], port).into(), ecn }
    }

    /// The sizes of the datagrams of each train.
    fn coupled(datagrams: &[Datagram]) -> Vec<Vec<usize>> {
        couple(datagrams).iter().map(|train| train.iter().map(|datagram| datagram.packet.len()).collect()).collect()
    }

    fn of_sizes(sizes: &[usize]) -> Vec<Datagram> {
        sizes.iter().map(|size| datagram(*size, 1, Ecn::NotEct)).collect()
    }

    #[test]
    fn datagrams_of_one_size_are_one_train_and_a_shorter_one_ends_it() {
        let sizes = [100, 100, 80, 80, 100, 60];
        assert_eq!(coupled(&of_sizes(&sizes)), [vec![100, 100, 80], vec![80], vec![100, 60]]);
    }

    #[test]
    fn another_peer_or_mark_begins_a_train_although_the_size_is_the_same() {
        let to = |port, ecn| datagram(100, port, ecn);
        let peers = [to(1, Ecn::NotEct), to(1, Ecn::NotEct), to(2, Ecn::NotEct), to(1, Ecn::NotEct)];
        assert_eq!(coupled(&peers), [vec![100, 100], vec![100], vec![100]]);
        let marks = [to(1, Ecn::Ect0), to(1, Ecn::Ect0), to(1, Ecn::Ce), to(1, Ecn::Ect1)];
        assert_eq!(coupled(&marks), [vec![100, 100], vec![100], vec![100]]);
    }

    #[test]
    fn a_train_is_neither_longer_nor_larger_than_the_kernel_takes() {
        let lengths = |sizes: &[usize]| coupled(&of_sizes(sizes)).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[100; 150]), [64, 64, 22]);
        assert_eq!(lengths(&[9_000; 9]), [7, 2], "8 of them are more than an IP packet holds");
        assert_eq!(lengths(&[65_487; 2]), [1, 1]);
    }

    #[test]
    fn only_what_holds_several_is_to_be_cut() {
        assert_eq!(segment(&of_sizes(&[100, 100, 80])), Some(100));
        assert_eq!(segment(&of_sizes(&[100])), None);
    }
}
