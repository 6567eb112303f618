//! Congestion marks through the shim: RFC 6040.

use crate::pair::*;

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// What a packet leaves with, by what it came in with inside (rows) and outside (columns: Not-ECT, ECT(1), ECT(0), CE).
/// RFC 6040, figure 4; none is a drop.
const FIGURE_4: [(u8, [Option<u8>; 4]); 4] = [
    (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
    (ECT_0, [Some(ECT_0), Some(ECT_1), Some(ECT_0), Some(CE)]),
    (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
    (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
];

/// Class selector and expedited forwarding bits, to see that they stay.
const DSCP: u8 = 0b101110 << 2;

fn with_outer_ecn(packet: &[u8], ecn: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[L2 + 1] = packet[L2 + 1] & !3 | ecn;
    rechecked(packet)
}

fn decapsulates_as_figure_4_says(inner_of: impl Fn(u8) -> Vec<u8>, traffic_class_of: impl Fn(&[u8]) -> u8) {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    for (inner, by_outer) in FIGURE_4 {
        for (outer, expected) in [NOT_ECT, ECT_1, ECT_0, CE].into_iter().zip(by_outer) {
            let sent = edge.send(&inner_of(inner), 0).packet;
            assert_eq!(sent[L2 + 1] & 3, inner, "copied out");
            let packet = with_outer_ecn(&sent, outer);
            let what = format!("{inner:02b} inside, {outer:02b} outside");
            match expected {
                None => anchor.refuses(&packet, "ecn", &what),
                Some(ecn) => {
                    let delivered = anchor.delivers(&packet, &what);
                    assert_eq!(traffic_class_of(&delivered), DSCP | ecn, "{what}");
                }
            }
        }
    }
}

#[test]
fn all_sixteen_combinations_come_out_as_the_rfc_says_over_ipv4() {
    decapsulates_as_figure_4_says(
        |ecn| {
            let mut packet = udp(CLIENT, SERVER, [1, 2], DSCP | ecn);
            packet[L2 + 10..L2 + 12].fill(0);
            rechecked(packet)
        },
        |delivered| {
            assert_eq!(header_sum(&delivered[L2..L2 + 20]), 0xffff, "the inner checksum follows");
            delivered[L2 + 1]
        },
    );
}

#[test]
fn all_sixteen_combinations_come_out_as_the_rfc_says_over_ipv6() {
    decapsulates_as_figure_4_says(
        |ecn| {
            let mut packet = udp6("2001:db8:7::2", "2001:db8:51::2");
            let traffic_class = DSCP | ecn;
            packet[L2] = 0x60 | traffic_class >> 4;
            packet[L2 + 1] = traffic_class << 4 | 0xb; // and a flow label that stays
            packet
        },
        |delivered| {
            assert_eq!((delivered[L2] >> 4, delivered[L2 + 1] & 15), (6, 0xb), "version and flow label");
            delivered[L2] << 4 | delivered[L2 + 1] >> 4
        },
    );
}

#[test]
fn a_copy_without_congestion_is_delivered_after_one_that_was_dropped_for_it() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let copy = edge.send(&udp(CLIENT, SERVER, [1, 2], NOT_ECT), 0).packet;
    anchor.refuses(&with_outer_ecn(&copy, CE), "ecn", "the first copy met congestion");
    anchor.delivers(&copy, "the second did not");
    anchor.refuses(&copy, "duplicate", "and is the last");
}
