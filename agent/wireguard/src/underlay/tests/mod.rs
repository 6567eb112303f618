//! Batches on the loopback: order, sizes, marks, peers, and what cannot be sent.

use std::time::Duration;

use bytes::BytesMut;

use super::*;

/// Nobody may send there without asking the kernel for it first, which a worker does not: what goes there is refused.
const REFUSED: ([u8; 4], u16) = ([255, 255, 255, 255], 9);

/// Receives on the loopback; a datagram is its number, and filled up with it.
struct Far(std::net::UdpSocket);

impl Far {
    fn new() -> Far {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
        Far(socket)
    }

    fn datagram(&self, number: u8, size: usize, ecn: Ecn) -> Datagram {
        datagram(number, size, ecn, self.0.local_addr().unwrap())
    }

    /// Number, size and mark of what comes next.
    fn receive(&self) -> (u8, usize, Ecn) {
        let (mut bytes, mut space) = ([0; 2_048], cmsg_space!(i32));
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let (fd, flags) = (self.0.as_raw_fd(), MsgFlags::empty());
        let message =
            nix::sys::socket::recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), flags).expect("a datagram");
        let ((ecn, _), size) = (told(&message).unwrap(), message.bytes);
        assert!(bytes[..size].iter().all(|byte| *byte == bytes[0]), "parts of two datagrams in one");
        (bytes[0], size, ecn)
    }
}

fn datagram(number: u8, size: usize, ecn: Ecn, peer: SocketAddr) -> Datagram {
    Datagram { packet: Packet::from_bytes(BytesMut::from(&*vec![number; size])), peer, ecn }
}

fn seen(datagram: &Datagram) -> (u8, usize, Ecn) {
    (datagram.packet[0], datagram.packet.len(), datagram.ecn)
}

#[tokio::test]
async fn datagrams_of_mixed_sizes_and_marks_come_in_order_each_with_its_own() {
    let (underlay, far) = (Underlay::open("", 0).unwrap(), Far::new());
    let sizes = [96, 96, 96, 64, 640, 640, 32];
    let marks = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect0, Ecn::Ect0, Ecn::Ce, Ecn::Ce, Ecn::Ect1, Ecn::Ect0];
    let (mut sizes, mut marks) = (sizes.iter().cycle(), marks.iter().cycle());
    let mut sent: Vec<Datagram> =
        (0..150).map(|number| far.datagram(number, *sizes.next().unwrap(), *marks.next().unwrap())).collect();
    let expected: Vec<_> = sent.iter().map(seen).collect();
    underlay.send(&mut sent).await;
    assert!(sent.is_empty());
    assert_eq!(expected.iter().map(|_| far.receive()).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn more_datagrams_of_one_size_than_a_train_holds_come_in_order() {
    let (underlay, far) = (Underlay::open("", 0).unwrap(), Far::new());
    for ecn in [Ecn::NotEct, Ecn::Ect0] {
        let mut sent: Vec<Datagram> = (0..150).map(|number| far.datagram(number, 200, ecn)).collect();
        let expected: Vec<_> = sent.iter().map(seen).collect();
        underlay.send(&mut sent).await;
        assert_eq!(expected.iter().map(|_| far.receive()).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn peers_that_take_turns_get_their_own_datagrams() {
    let (underlay, fars) = (Underlay::open("", 0).unwrap(), [Far::new(), Far::new()]);
    let mut sent: Vec<Datagram> =
        (0..60).map(|number| fars[usize::from(number / 3 % 2)].datagram(number, 100, Ecn::Ect0)).collect();
    underlay.send(&mut sent).await;
    for (index, far) in fars.iter().enumerate() {
        for number in (0..60).filter(|number| usize::from(number / 3 % 2) == index) {
            assert_eq!(far.receive(), (number, 100, Ecn::Ect0));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_sent_takes_nothing_with_it() {
    let (underlay, far) = (Underlay::open("", 0).unwrap(), Far::new());
    let is_refused = |number: &u8| (20..30).contains(number) || *number == 45;
    let mut sent: Vec<Datagram> = (0..60)
        .map(|number| match is_refused(&number) {
            true => datagram(number, 100, Ecn::NotEct, REFUSED.into()),
            false => far.datagram(number, 100, Ecn::NotEct),
        })
        .collect();
    underlay.send(&mut sent).await;
    for number in (0..60).filter(|number| !is_refused(number)) {
        assert_eq!(far.receive(), (number, 100, Ecn::NotEct));
    }
    assert_eq!(underlay.take_unreachable(), BTreeSet::from([REFUSED.into()]));
}
