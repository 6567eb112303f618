//! Congestion marks through a tunnel.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::net::{Net, visit, wait};
use crate::relay::{self, Relay};

const SOON: Duration = Duration::from_secs(5);
const NOT_ECT: u8 = 0;
const ECT1: u8 = 1;
const ECT0: u8 = 2;
const CE: u8 = 3;
/// Expedited forwarding, in its place above the two bits of ECN.
const DSCP: u8 = 46 << 2;

/// Sends packets through the tunnel and tells with what class they arrived.
struct Inside {
    from: UdpSocket,
    to: UdpSocket,
}

impl Inside {
    fn new(net: &Net) -> Inside {
        let to = visit(&net.b.netns, || UdpSocket::bind((net.b.address, 9_000)).unwrap());
        setsockopt(&to, sockopt::IpRecvTos, &true).unwrap();
        to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Inside { from: visit(&net.a.netns, || UdpSocket::bind((net.a.address, 0)).unwrap()), to }
    }

    fn send(&self, class: u8, text: &str) {
        relay::send(&self.from, text.as_bytes(), self.to.local_addr().unwrap(), class);
    }

    /// Class and text of what arrives next.
    fn receive(&self) -> (u8, String) {
        let mut received = None;
        wait("a packet", SOON, || {
            received = relay::receive(&self.to);
            received.is_some()
        });
        let (bytes, _, class) = received.unwrap();
        (class, String::from_utf8(bytes).unwrap())
    }
}

fn marks_of_packets_are_on_their_datagrams(is_ipv6: bool) {
    let net = Net::new();
    let relay = Relay::start(&net, is_ipv6);
    net.connect(relay.address);
    let inside = Inside::new(&net);
    for class in [NOT_ECT, ECT1, ECT0, CE] {
        let before = relay.seen().len();
        inside.send(DSCP | class, "marked");
        wait("its datagram", SOON, || relay.seen().len() > before);
        assert_eq!(relay.seen()[before].0, class, "the DSCP is nobody's business outside");
        assert_eq!(inside.receive(), (DSCP | class, "marked".into()), "and nothing changed inside");
    }
}

#[test]
fn marks_of_packets_are_on_their_datagrams_over_ipv4() {
    marks_of_packets_are_on_their_datagrams(false);
}

#[test]
fn marks_of_packets_are_on_their_datagrams_over_ipv6() {
    marks_of_packets_are_on_their_datagrams(true);
}

fn congestion_outside_reaches_the_packet_inside(is_ipv6: bool) {
    let net = Net::new();
    let relay = Relay::start(&net, is_ipv6);
    net.connect(relay.address);
    let inside = Inside::new(&net);
    let rejected = net.b.status().rejected;
    relay.mark(CE);
    for class in [ECT0, ECT1, CE] {
        inside.send(DSCP | class, "told");
        assert_eq!(inside.receive(), (DSCP | CE, "told".into()));
    }
    // A flow that does not know ECN is told by a loss, and what follows it arrives.
    inside.send(NOT_ECT, "lost");
    inside.send(ECT0, "after it");
    assert_eq!(inside.receive(), (CE, "after it".into()));
    assert_eq!(net.b.status().rejected, rejected + 1);
    // Without congestion, and with the one mark that changes another.
    relay.mark(NOT_ECT);
    inside.send(NOT_ECT, "not lost");
    assert_eq!(inside.receive(), (NOT_ECT, "not lost".into()));
    relay.mark(ECT1);
    inside.send(ECT0, "lower latency");
    assert_eq!(inside.receive(), (ECT1, "lower latency".into()));
}

#[test]
fn congestion_outside_reaches_the_packet_inside_over_ipv4() {
    congestion_outside_reaches_the_packet_inside(false);
}

#[test]
fn congestion_outside_reaches_the_packet_inside_over_ipv6() {
    congestion_outside_reaches_the_packet_inside(true);
}
