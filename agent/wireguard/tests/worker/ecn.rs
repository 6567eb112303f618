//! Congestion marks through a tunnel.

use std::time::Duration;

use crate::inside::Inside;
use crate::net::{Net, wait};
use crate::relay::Relay;

const SOON: Duration = Duration::from_secs(5);
const NOT_ECT: u8 = 0;
const ECT1: u8 = 1;
const ECT0: u8 = 2;
const CE: u8 = 3;
/// Expedited forwarding, in its place above the two bits of ECN.
const DSCP: u8 = 46 << 2;

fn marks_of_packets_are_on_their_datagrams(is_ipv6: bool) {
    let net = Net::new();
    let relay = Relay::start(&net, is_ipv6);
    net.connect(relay.address);
    let inside = Inside::new(&net);
    for class in [NOT_ECT, ECT1, ECT0, CE] {
        let before = relay.seen().len();
        inside.send(DSCP | class, b"marked");
        wait("its datagram", SOON, || relay.seen().len() > before);
        assert_eq!(relay.seen()[before].0, class, "the DSCP is nobody's business outside");
        assert_eq!(inside.receive("marked"), (DSCP | class, b"marked".to_vec()), "and nothing changed inside");
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
        inside.send(DSCP | class, b"told");
        assert_eq!(inside.receive("told"), (DSCP | CE, b"told".to_vec()));
    }
    // A flow that does not know ECN is told by a loss, and what follows it arrives.
    inside.send(NOT_ECT, b"lost");
    inside.send(ECT0, b"after it");
    assert_eq!(inside.receive("after it"), (CE, b"after it".to_vec()));
    assert_eq!(net.b.status().rejected, rejected + 1);
    // Without congestion, and with the one mark that changes another.
    relay.mark(NOT_ECT);
    inside.send(NOT_ECT, b"not lost");
    assert_eq!(inside.receive("not lost"), (NOT_ECT, b"not lost".to_vec()));
    relay.mark(ECT1);
    inside.send(ECT0, b"lower latency");
    assert_eq!(inside.receive("lower latency"), (ECT1, b"lower latency".to_vec()));
}

#[test]
fn congestion_outside_reaches_the_packet_inside_over_ipv4() {
    congestion_outside_reaches_the_packet_inside(false);
}

#[test]
fn congestion_outside_reaches_the_packet_inside_over_ipv6() {
    congestion_outside_reaches_the_packet_inside(true);
}
