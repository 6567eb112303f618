//! The way back: what an anchor learns, from data and from control packets.

use std::net::Ipv4Addr;

use pathsteer_bpf::control::SwitchMessage;

use crate::pair::*;

fn switch(active: u8, copies: u8, counter: u64) -> Vec<u8> {
    let message = SwitchMessage {
        source: Ipv4Addr::from(EDGE),
        destination: Ipv4Addr::from(ANCHOR),
        epoch: 1,
        class: 1,
        active,
        copies,
        counter,
        nonce: 99,
    };
    let mut packet = udp(CLIENT, SERVER, [0, 0], 0)[..L2].to_vec();
    packet.extend(message.to_bytes());
    rechecked(packet)
}

/// Active slot and copy set by which the anchor would send.
fn way_back(anchor: &Node) -> Option<(u8, u8)> {
    anchor.datapath.maps.learned().unwrap().get(&(EDGE_ID, 1)).map(|learned| (learned.active, learned.copies))
}

#[test]
fn an_anchor_answers_over_the_tunnel_it_is_spoken_to_by_with_the_same_copies() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let answer = udp(SERVER, CLIENT, [2, 1], 0);
    assert_eq!(anchor.send(&answer, 0).verdict, DROP, "nobody has spoken yet");
    anchor.receive(&edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet);
    let sent = anchor.send(&answer, 0);
    assert_eq!(sent.verdict, PASS);
    assert_eq!(sent.mark, 0b10 | 1 << 8 | 1 << 12);
}

#[test]
fn a_copy_teaches_nothing_but_a_backup_route_teaches_the_truth() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let packet = |edge: &mut Node| edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet;
    anchor.arrive_by(2);
    let first = packet(&mut edge);
    assert_eq!(anchor.receive(&first).verdict, PASS, "the copy comes first and is delivered");
    assert_eq!(way_back(&anchor), None, "slot 2 is in the copy set");
    anchor.arrive_by(1);
    assert_eq!(anchor.receive(&first).verdict, DROP, "the original is the second copy now");
    assert_eq!(way_back(&anchor), Some((1, 0b10)), "and teaches all the same");
    anchor.arrive_by(3);
    anchor.receive(&packet(&mut edge));
    assert_eq!(way_back(&anchor), Some((3, 0b10)), "slot 3 is no copy: a backup route sent it there");
}

#[test]
fn a_packet_copied_by_a_slot_that_one_side_does_not_know_is_delivered_and_teaches_the_rest() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    edge.choose(1, 0b1000_0010, 1);
    anchor.delivers(&edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet, "up");
    assert_eq!(way_back(&anchor), Some((1, 0b10)), "the anchor has no slot 8 for this site");
    let answer = anchor.send(&udp(SERVER, CLIENT, [2, 1], 0), 0).packet;
    edge.delivers(&with_key(&answer, |key| key | 1 << 19), "down");
}

#[test]
fn a_straggler_of_an_older_switch_teaches_nothing() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let straggler = edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet;
    edge.choose(2, 0, 2);
    anchor.arrive_by(2);
    anchor.receive(&edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet);
    anchor.arrive_by(1);
    assert_eq!(anchor.receive(&straggler).verdict, PASS, "it is delivered");
    assert_eq!(way_back(&anchor), Some((2, 0)));
}

#[test]
fn a_packet_of_the_epoch_before_teaches_nothing() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let straggler = edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet;
    anchor.delivers(&straggler, "in its own epoch");
    edge.set_epoch(2);
    anchor.delivers(&edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet, "the next epoch");
    let before = way_back(&anchor);
    anchor.arrive_by(3);
    anchor.refuses(&straggler, "staleEpoch", "of the epoch before, by another slot");
    assert_eq!(way_back(&anchor), before);
}

#[test]
fn a_class_or_a_site_that_comes_back_has_no_way_back_yet() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let packet = udp(CLIENT, SERVER, [1, 2], 0);
    for class in [1, 2] {
        anchor.delivers(&edge.send(&packet, class << 12).packet, "teaches");
    }
    let learned = |anchor: &Node| anchor.datapath.maps.learned().unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(learned(&anchor), [(EDGE_ID, 1), (EDGE_ID, 2)]);
    anchor.has_classes(&[1]);
    anchor.refuses(&edge.send(&packet, 2 << 12).packet, "class", "data of the class that has gone");
    anchor.refuses(&with_class(switch(2, 0, 7), 2), "class", "a switch of the class that has gone");
    anchor.has_classes(&[1, 2]);
    assert_eq!(learned(&anchor), [(EDGE_ID, 1)]);
    anchor.datapath.maps.remove_remote(EDGE_ID).unwrap();
    anchor.has_classes(&[1, 2]);
    assert_eq!(learned(&anchor), []);
}

/// A switch message for another class.
fn with_class(mut message: Vec<u8>, class: u8) -> Vec<u8> {
    message[L2 + SHIM + 1] = class;
    message
}

#[test]
fn a_switch_message_moves_the_way_back_and_is_answered_at_once() {
    let mut anchor = Node::anchor();
    anchor.arrive_by(3);
    let reply = anchor.receive(&switch(2, 0b101, 7));
    assert_eq!(reply.verdict, REDIRECT);
    assert_eq!(way_back(&anchor), Some((2, 0b101)));
    let outer = &reply.packet[L2..];
    assert_eq!((&outer[12..16], &outer[16..20]), (&ANCHOR[..], &EDGE[..]), "back to the sender");
    assert_eq!(outer[32..36], [2, 1, 2, 0b101], "acknowledge: class, active, copies");
    assert_eq!((outer[47], outer[55]), (7, 99), "counter and nonce");

    let reply = anchor.receive(&switch(1, 0, 6));
    assert_eq!(way_back(&anchor), Some((2, 0b101)), "an older one changes nothing");
    assert_eq!(reply.packet[L2 + 34..L2 + 36], [2, 0b101], "and hears what is followed");
}

#[test]
fn an_edge_hands_acknowledgements_to_its_agent_and_obeys_no_switch() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let mut ring = edge.datapath.maps.acknowledgements().unwrap();
    let reply = anchor.receive(&switch(2, 0, 7));
    edge.arrive_by(3);
    assert_eq!(edge.receive(&reply.packet).verdict, DROP, "taken");
    let record = ring.next().expect("a record for the agent");
    let ack = pathsteer_bpf::layout::Acknowledgement::from_bytes(&record).unwrap();
    assert_eq!((ack.remote, ack.class, ack.active, ack.slot, ack.counter, ack.nonce), (ANCHOR_ID, 1, 2, 3, 7, 99));
    drop(record);

    let mut forged = switch(2, 0, 8);
    forged[L2 + 32] = 2;
    let before = anchor.count("unknown");
    assert_eq!(anchor.receive(&forged).verdict, DROP, "an anchor takes no acknowledgement");
    assert_eq!(anchor.count("unknown"), before + 1);
    edge.arrive_by(1);
    let mut obeyed = reply.packet.clone();
    obeyed[L2 + 32] = 1;
    assert_eq!(edge.receive(&obeyed).verdict, DROP, "an edge decides for itself");
    assert_eq!(edge.count("unknown"), 1);
}
