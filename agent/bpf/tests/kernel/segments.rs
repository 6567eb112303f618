//! Packets of several segments, and what the kernel makes of them later.

use pathsteer_bpf::{Kind, Trial, layout::Config};

use crate::pair::*;

const SEGMENTS: u32 = 5;

fn send_whole(edge: &mut Node, packet: &[u8]) -> Trial {
    edge.datapath.programs.try_segments(Kind::Encap, packet, 0, SEGMENTS).unwrap()
}

fn allow(node: &mut Node) {
    let config = node.datapath.maps.config().unwrap();
    node.datapath.maps.set_config(Config { gso: 1, ..config }).unwrap();
}

/// TCP, because the kernel knows no other segments here.
fn tcp() -> Vec<u8> {
    let mut packet = udp(CLIENT, SERVER, [1, 2], 0);
    packet[L2 + 9] = 6;
    packet[L2 + 3] = 20 + 20 + 200;
    packet.resize(L2 + 20 + 20 + 200, 0x55);
    packet[L2 + 10..L2 + 12].fill(0);
    rechecked(packet)
}

/// What the kernel cuts off as segment `number`, here with the inner packet as it was: the outer IP ID is one higher
/// each time, and nothing else of the shim changes.
fn cut(whole: &[u8], number: u16) -> Vec<u8> {
    let mut segment = whole.to_vec();
    let id = u16::from_be_bytes([whole[L2 + 4], whole[L2 + 5]]).wrapping_add(number);
    segment[L2 + 4..L2 + 6].copy_from_slice(&id.to_be_bytes());
    rechecked(segment)
}

#[test]
fn several_segments_at_once_are_dropped_where_they_are_not_allowed() {
    let mut edge = Node::edge();
    assert_eq!((send_whole(&mut edge, &tcp()).verdict, edge.count("oversize")), (DROP, 1));
    assert_eq!(edge.send(&tcp(), 0).verdict, PASS, "the same in one piece");
}

#[test]
fn every_segment_has_a_number_of_its_own_also_where_the_low_half_wraps() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    allow(&mut edge);
    let mut next = 1;
    // past 65,535, where the sequence's low half and with it the IP ID begins again
    while next < 66_000 {
        let whole = send_whole(&mut edge, &tcp());
        assert_eq!(whole.verdict, PASS);
        assert_eq!(key_and_sequence(&whole.packet).1, next, "as many numbers as segments");
        if next > 65_500 {
            for number in 0..SEGMENTS as u16 {
                anchor.delivers(&cut(&whole.packet, number), "a segment");
                anchor.refuses(&cut(&whole.packet, number), "duplicate", "its copy");
            }
        }
        next += SEGMENTS;
    }
    assert_eq!((edge.count("sent"), edge.count("whole")), (u64::from(next - 1), u64::from(next - 1)));
    let after = edge.send(&tcp(), 0);
    assert_eq!(key_and_sequence(&after.packet).1, next, "and the next packet comes after all of them");
    assert_eq!((edge.count("sent"), edge.count("whole")), (u64::from(next), u64::from(next - 1)));
}

#[test]
fn a_tunnel_that_does_not_cut_is_refused_where_segments_are_not_allowed() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    allow(&mut edge);
    let whole = send_whole(&mut edge, &tcp()).packet;
    let trial = anchor.datapath.programs.try_segments(Kind::DecapEthernet, &whole, 0, SEGMENTS).unwrap();
    assert_eq!((trial.verdict, anchor.count("oversize")), (DROP, 1));
    anchor.delivers(&whole, "the same in one piece");
}
