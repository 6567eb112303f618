//! The shim on the wire, field by field, and what is refused.

use pathsteer_bpf::layout::Behind;

use crate::pair::*;

#[test]
fn a_packet_comes_out_as_it_went_in_and_its_second_copy_not_at_all() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let inner = udp(CLIENT, SERVER, [1000, 2000], 0xb9);
    let sent = edge.send(&inner, 0);
    assert_eq!(sent.verdict, PASS);
    assert_eq!(sent.packet.len(), inner.len() + SHIM);

    let outer = &sent.packet[L2..];
    assert_eq!(outer[..2], [0x45, 0xb9], "DSCP and ECN are copied out");
    assert_eq!(u16::from_be_bytes([outer[2], outer[3]]) as usize, inner.len() - L2 + SHIM);
    assert_eq!((outer[6], outer[9]), (0x40, 47), "DF, GRE");
    assert_eq!((&outer[12..16], &outer[16..20]), (&EDGE[..], &ANCHOR[..]));
    assert_eq!(header_sum(&outer[..20]), 0xffff, "the header checksum is right");
    assert_eq!(outer[20..24], [0x30, 0, 8, 0], "GRE with key and sequence, IPv4 inside");
    let (key, sequence) = key_and_sequence(&sent.packet);
    assert_eq!((key >> 29, key >> 24 & 31, key >> 20 & 15, key >> 12 & 255, key >> 8 & 15), (0, 1, 1, 0b10, 1));
    assert_eq!((sequence, &outer[4..6]), (1, &[0, 1][..]), "the IP ID is the sequence's low half");
    assert_eq!(sent.mark, 0b10 | 1 << 8 | 1 << 12 | 1 << 16, "copy set, slot, class, anchor");

    let first = anchor.receive(&sent.packet);
    assert_eq!((first.verdict, &first.packet), (PASS, &inner));
    assert_eq!(first.mark, 1 << 12, "the class, for answers");
    assert_eq!(anchor.receive(&sent.packet).verdict, DROP);
    assert_eq!((anchor.count("delivered"), anchor.count("duplicate")), (1, 1));
}

#[test]
fn ipv6_inside_comes_out_as_it_went_in() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let inner = udp6("2001:db8:7::2", "2001:db8:51::2");
    let sent = edge.send(&inner, 0);
    assert_eq!(sent.packet[12..14], [8, 0], "IPv4 outside");
    assert_eq!(sent.packet[L2 + 1], 0xb8, "the traffic class is copied out");
    assert_eq!(sent.packet[L2 + 22..L2 + 24], [0x86, 0xdd]);
    let received = anchor.receive(&sent.packet);
    assert_eq!((received.verdict, received.packet), (PASS, inner));
}

#[test]
fn both_directions_of_a_flow_share_a_bucket_and_other_flows_mostly_do_not() {
    let mut edge = Node::edge();
    let mut bucket = |source, destination, ports| {
        key_and_sequence(&edge.send(&udp(source, destination, ports, 0), 0).packet).0 & 255
    };
    let one = bucket(CLIENT, SERVER, [1000, 2000]);
    assert_eq!(one, bucket(CLIENT, SERVER, [2000, 1000]), "ports exchanged");
    let others: std::collections::BTreeSet<u32> = (0..100).map(|port| bucket(CLIENT, SERVER, [port, 53])).collect();
    // 100 balls into 256 boxes fill 82.7 on average, 3.5 is the standard deviation
    assert!(others.len() > 65, "{} buckets for 100 flows", others.len());
}

#[test]
fn the_class_in_the_mark_decides_sequence_and_path() {
    let mut edge = Node::edge();
    let inner = udp(CLIENT, SERVER, [1000, 5060], 0);
    let voice = edge.send(&inner, 2 << 12);
    assert_eq!(key_and_sequence(&voice.packet).0 >> 20 & 15, 2);
    assert_eq!(key_and_sequence(&edge.send(&inner, 0).packet).1, 1, "each class counts for itself");
    let unknown = edge.send(&inner, 3 << 12);
    assert_eq!((unknown.verdict, edge.count("class")), (DROP, 1), "a class that the remote does not have");
    edge.choose(0, 0, 2);
    assert_eq!((edge.send(&inner, 0).verdict, edge.count("noPath")), (DROP, 1), "nobody has chosen a path");
}

#[test]
fn what_is_forged_unknown_or_no_shim_is_dropped_and_its_twin_delivered() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let good = edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet;

    // 172.16.8.0/24 is another site's, 172.16.9.0/24 nobody's
    anchor.lies("172.16.8.0", 24, Behind::Remote(EDGE_ID + 1));
    let from = |source: [u8; 4]| {
        let mut packet = good.clone();
        packet[L2 + SHIM + 12..L2 + SHIM + 16].copy_from_slice(&source);
        packet
    };
    let (anothers, nobodys) = (from([172, 16, 8, 2]), from([172, 16, 9, 2]));
    // nobody's endpoint; what has the low bits of one that is known, or of none
    let strangers = [[10, 100, 0, 77], [10, 100, 8, 2], [11, 100, 0, 2], [10, 100, 8, 0], [0; 4]].map(|endpoint| {
        let mut packet = good.clone();
        packet[L2 + 12..L2 + 16].copy_from_slice(&endpoint);
        (rechecked(packet), "unknown")
    });
    let newer = with_key(&good, |key| key | 1 << 29);
    let classless = with_key(&good, |key| key & !(15 << 20));
    let forged = [(anothers, "forged"), (nobodys, "forged")];
    let unknown = [(newer, "unknown"), (classless, "unknown")];
    for (packet, counter) in forged.into_iter().chain(strangers).chain(unknown) {
        let before = anchor.counters();
        assert_eq!(anchor.receive(&packet).verdict, DROP, "{counter}");
        assert_eq!(anchor.count(counter), before[counter] + 1);
    }
    assert_eq!(anchor.receive(&good).verdict, PASS);
    assert_eq!(anchor.count("delivered"), 1);
}

#[test]
fn an_edge_refuses_what_claims_to_come_from_itself_or_goes_elsewhere() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    anchor.receive(&edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet);
    let good = anchor.send(&udp(SERVER, CLIENT, [1, 2], 0), 0).packet;
    let with = |at: usize, address: [u8; 4]| {
        let mut packet = good.clone();
        packet[L2 + SHIM + at..L2 + SHIM + at + 4].copy_from_slice(&address);
        packet
    };
    // a destination elsewhere would be led out again, by this very node
    let forged = [with(12, CLIENT), with(12, [10, 100, 0, 9]), with(16, SERVER), with(16, EDGE)];
    for (number, packet) in (1..).zip(forged) {
        assert_eq!((edge.receive(&packet).verdict, edge.count("forged")), (DROP, number));
    }
    assert_eq!(edge.receive(&good).verdict, PASS);
}

#[test]
fn an_edge_sends_only_what_lies_behind_it_and_only_where_a_remote_is() {
    let mut edge = Node::edge();
    assert_eq!(edge.send(&udp(SERVER, SERVER, [1, 2], 0), 0).verdict, DROP, "not its source");
    assert_eq!(edge.send(&udp([10, 100, 0, 9], SERVER, [1, 2], 0), 0).verdict, DROP, "nobody's source");
    assert_eq!(edge.count("foreign"), 2);
    assert_eq!(edge.send(&udp(CLIENT, CLIENT, [1, 2], 0), 0).verdict, DROP, "itself");
    assert_eq!(edge.send(&udp(CLIENT, ANCHOR, [1, 2], 0), 0).verdict, DROP, "nowhere");
    assert_eq!(edge.count("noRemote"), 2);
    assert_eq!(edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).verdict, PASS);
}

#[test]
fn what_an_interface_says_for_itself_is_dropped_and_nobody_is_accused_of_it() {
    let mut edge = Node::edge();
    for (source, accused) in [("fe80::77:1", 0), ("::", 0), ("fec0::1", 1), ("::1", 2), ("febf:ffff::1", 2)] {
        assert_eq!(edge.send(&udp6(source, "ff02::16"), 0).verdict, DROP, "{source}");
        assert_eq!(edge.count("foreign"), accused, "{source}");
    }
}

#[test]
fn counters_are_apart_per_remote_and_begin_at_zero_with_a_new_one() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet;
    anchor.receive(&one);
    let mut stranger = one.clone();
    stranger[L2 + 12..L2 + 16].copy_from_slice(&[10, 100, 0, 77]);
    anchor.receive(&rechecked(stranger));
    let counters = anchor.datapath.maps.counters().unwrap();
    assert_eq!((counters[&EDGE_ID]["delivered"], counters[&EDGE_ID]["unknown"]), (1, 0));
    assert_eq!((counters[&0]["delivered"], counters[&0]["unknown"]), (0, 1));
    anchor.datapath.maps.remove_remote(EDGE_ID).unwrap();
    assert_eq!(anchor.datapath.maps.counters().unwrap().keys().collect::<Vec<_>>(), [&0]);
    anchor.identify(1);
    assert_eq!(anchor.datapath.maps.counters().unwrap()[&EDGE_ID]["delivered"], 0);
}
