//! The sequence window, against a model that remembers everything.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use pathsteer_bpf::layout::{Config, Remote};

use crate::pair::*;

/// A shimmed packet to vary.
fn packet(edge: &mut Node) -> Vec<u8> {
    edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet
}

#[test]
fn the_sequence_may_wrap() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = packet(&mut edge);
    for sequence in [u32::MAX - 1, 0, u32::MAX, 1, 40] {
        assert_eq!(anchor.receive(&with_sequence(&one, sequence)).verdict, PASS, "{sequence}");
        assert_eq!(anchor.receive(&with_sequence(&one, sequence)).verdict, DROP, "{sequence} again");
    }
    assert_eq!(anchor.count("duplicate"), 5);
}

#[test]
fn a_word_that_was_filled_before_the_wrap_is_empty_after_it() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = packet(&mut edge);
    assert_eq!(anchor.receive(&with_sequence(&one, u32::MAX)).verdict, PASS);
    assert_eq!(anchor.receive(&with_sequence(&one, WINDOW - 1)).verdict, PASS, "the same word, a window later");
    assert_eq!(anchor.receive(&with_sequence(&one, u32::MAX - 5)).verdict, DROP, "and now it is too late");
    assert_eq!(anchor.count("late"), 1);
}

#[test]
fn a_window_full_of_reordering_is_delivered_and_one_word_more_is_late() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = packet(&mut edge);
    let newest = 10 * WINDOW;
    // a window is whole words of 32, so that much of it may already have gone
    for back in 0..WINDOW - 32 {
        assert_eq!(anchor.receive(&with_sequence(&one, newest - back)).verdict, PASS, "{back} behind");
    }
    let late = newest - WINDOW - 32;
    anchor.receive(&with_sequence(&one, late + WINDOW));
    assert_eq!(anchor.receive(&with_sequence(&one, late)).verdict, DROP);
    assert_eq!(anchor.count("late"), 1);
}

/// The default width, against WANs of very different delay.
#[test]
fn six_hundred_milliseconds_at_twenty_thousand_packets_a_second_lose_and_double_nothing() {
    const DEFAULT_WINDOW: u32 = 16_384;
    const BEHIND: u32 = 12_000;
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor_with(DEFAULT_WINDOW));
    let one = packet(&mut edge);
    // half of the packets are lost on the fast path, so that only the slow one brings them
    let mut delivered = 0;
    for sequence in 1..=BEHIND + 4_000 {
        if sequence % 2 == 0 {
            anchor.arrive_by(2);
            delivered += u32::from(anchor.receive(&with_sequence(&one, sequence)).verdict == PASS);
        }
        if let Some(slow) = sequence.checked_sub(BEHIND).filter(|slow| *slow > 0) {
            anchor.arrive_by(1);
            let verdict = anchor.receive(&with_sequence(&one, slow)).verdict;
            assert_eq!(verdict == PASS, slow % 2 == 1, "{slow}: only what the fast path lost");
            delivered += u32::from(verdict == PASS);
        }
    }
    assert_eq!((delivered, anchor.count("late")), ((BEHIND + 4_000) / 2 + 4_000 / 2, 0));
    assert_eq!(anchor.count("duplicate"), 4_000 / 2);
}

#[test]
fn complete_reordering_within_the_window_loses_nothing_from_anywhere_in_the_sequence_space() {
    for first in [1, 77, u32::MAX - WINDOW / 2] {
        let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
        let one = packet(&mut edge);
        // a step that shares no divisor with the number visits each once, and no two neighbours in turn
        let number = WINDOW - 32;
        for index in 0..number {
            let sequence = first.wrapping_add(index * 389 % number);
            assert_eq!(anchor.receive(&with_sequence(&one, sequence)).verdict, PASS, "{sequence}");
        }
        for index in 0..number {
            anchor.refuses(&with_sequence(&one, first.wrapping_add(index)), "duplicate", "again, in order");
        }
    }
}

#[test]
fn a_restarted_sender_is_heard_at_once_and_its_former_self_is_not() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let before = packet(&mut edge);
    assert_eq!(anchor.receive(&with_sequence(&before, 5_000)).verdict, PASS);
    edge.set_epoch(2);
    let after = packet(&mut edge);
    assert_eq!(anchor.receive(&with_sequence(&after, 1)).verdict, PASS, "low numbers are new in a new epoch");
    assert_eq!(anchor.receive(&with_sequence(&after, 1)).verdict, DROP);
    assert_eq!(anchor.receive(&with_sequence(&before, 5_001)).verdict, DROP, "the previous epoch's stragglers");
    assert_eq!((anchor.count("duplicate"), anchor.count("staleEpoch")), (1, 1));
    assert_eq!(anchor.receive(&with_sequence(&after, 5_000)).verdict, PASS, "the window was reset");
}

#[test]
fn a_sender_that_lost_its_memory_is_heard_in_the_epoch_it_had_before() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = packet(&mut edge);
    for identity in [1, 2, 1] {
        anchor.identify(identity);
        for sequence in [1, 2] {
            assert_eq!(anchor.receive(&with_sequence(&one, sequence)).verdict, PASS, "{sequence} of {identity}");
            assert_eq!(anchor.receive(&with_sequence(&one, sequence)).verdict, DROP, "{sequence} of {identity} again");
        }
        anchor.identify(identity);
        assert_eq!(anchor.receive(&with_sequence(&one, 1)).verdict, DROP, "the same identity changes nothing");
    }
}

/// The far end may not have heard of it: plans come in haste.
#[test]
fn a_sender_that_has_known_the_remote_or_a_class_before_goes_on_counting() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let remote = Remote { address: ANCHOR, anchor: 1, identity: 1, slots: SLOTS, ..Remote::default() };
    for what in ["a class less", "no remote"] {
        for number in 1..=3 {
            assert_eq!(anchor.receive(&packet(&mut edge)).verdict, PASS, "{number} before {what}");
        }
        let maps = &mut edge.datapath.maps;
        match what {
            "no remote" => maps.remove_remote(ANCHOR_ID).unwrap(),
            _ => maps.set_remote(ANCHOR_ID, remote, &[2], WINDOW).unwrap(),
        }
        maps.set_remote(ANCHOR_ID, remote, &[1, 2], WINDOW).unwrap();
        edge.choose(1, 0b10, 1);
        assert_eq!(anchor.receive(&packet(&mut edge)).verdict, PASS, "after {what}");
    }
}

#[test]
fn epochs_come_round_after_thirty_two_restarts() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    for epoch in 1..=40 {
        edge.set_epoch(epoch & 31);
        let one = packet(&mut edge);
        assert_eq!(anchor.receive(&with_sequence(&one, 77)).verdict, PASS, "restart {epoch}");
        assert_eq!(anchor.receive(&with_sequence(&one, 77)).verdict, DROP, "restart {epoch} again");
    }
}

#[test]
fn another_declared_width_holds_at_once_and_forgets_what_was_seen() {
    let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
    let one = packet(&mut edge);
    let before = anchor.datapath.maps.memory(EDGE_ID).unwrap();
    anchor.delivers(&with_sequence(&one, 5_000), "before");
    for (shift, wider) in [(12, true), (10, false)] {
        let config = anchor.datapath.maps.config().unwrap();
        anchor.datapath.maps.set_config(Config { window_shift: shift, ..config }).unwrap();
        assert_eq!(anchor.datapath.maps.memory(EDGE_ID).unwrap() > before, wider);
        anchor.delivers(&with_sequence(&one, 5_000), "as if nothing had been");
        let behind = 5_000 - (1 << shift) + 32;
        anchor.delivers(&with_sequence(&one, behind), "the whole width");
        anchor.refuses(&with_sequence(&one, behind), "duplicate", "and no more");
    }
}

#[test]
fn processors_that_meet_over_the_same_packets_deliver_each_once() {
    const PACKETS: u32 = 4_000;
    let (mut edge, anchor) = (Node::edge(), Node::anchor_with(16_384));
    let one = packet(&mut edge);
    let take_all = || {
        let mut own = anchor.again();
        (0..PACKETS).filter(|sequence| own.receive(&with_sequence(&one, *sequence)).verdict == PASS).count()
    };
    let delivered = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(take_all)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(delivered, PACKETS as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Steps forward and back within the window, from anywhere in the sequence space.
    #[test]
    fn nothing_is_delivered_twice_and_nothing_within_the_window_is_refused(
        start in any::<u32>(),
        steps in vec((0u32..200, 0u32..WINDOW - 64), 1..300),
    ) {
        let (mut edge, mut anchor) = (Node::edge(), Node::anchor());
        let one = packet(&mut edge);
        let mut seen = BTreeSet::new();
        let mut newest: u64 = 1 << 33;
        for (forward, back) in steps {
            newest += u64::from(forward);
            let sequence = newest - u64::from(back);
            let wire = start.wrapping_add(sequence as u32);
            let verdict = anchor.receive(&with_sequence(&one, wire)).verdict;
            prop_assert_eq!(verdict == PASS, seen.insert(sequence), "{} behind the newest", back);
        }
    }
}
