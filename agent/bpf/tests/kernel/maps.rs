//! The maps as the agent uses them.

use std::time::Instant;

use pathsteer_bpf::{
    Datapath, is_pinned,
    layout::{self, Behind, Chosen, Config, Remote},
    unpin_all,
};

use crate::bpffs::Bpffs;

const REMOTE: Remote = Remote { address: [10, 100, 0, 1], anchor: 1, identity: 1, slots: 0b11, classes: 0 };

#[test]
fn what_was_chosen_survives_a_restart_of_the_agent() {
    let bpffs = Bpffs::new();
    assert!(!is_pinned(&bpffs.path()));
    let mut first = Datapath::open(&bpffs.path()).unwrap();
    first.maps.set_config(Config { self_address: [10, 100, 0, 2], epoch: 1, ..Config::default() }).unwrap();
    first.maps.set_remote(1, REMOTE, &[1, 2], 16_384).unwrap();
    let chosen = Chosen { active: 1, copies: 0b10, counter: 7, ..Chosen::default() };
    first.maps.choose(1, 2, chosen).unwrap();
    drop(first);

    assert!(is_pinned(&bpffs.path()));
    let second = Datapath::open(&bpffs.path()).unwrap();
    assert_eq!(second.maps.config().unwrap().epoch, 1);
    assert_eq!(second.maps.chosen().unwrap()[&(1, 2)], chosen);
    assert_eq!(second.maps.remotes().unwrap()[&1].1, [1, 2]);
    assert!(second.maps.learned().unwrap().is_empty(), "no packet has taught anything");
    unpin_all(&bpffs.path()).unwrap();
    assert!(!is_pinned(&bpffs.path()));
}

#[test]
fn a_remote_that_loses_a_class_loses_its_maps_alone() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    datapath.maps.set_remote(1, REMOTE, &[1, 2], 1_024).unwrap();
    datapath.maps.set_remote(2, Remote { address: [10, 100, 0, 9], ..REMOTE }, &[1], 1_024).unwrap();
    datapath.maps.set_remote(1, REMOTE, &[1], 1_024).unwrap();
    assert_eq!(datapath.maps.remotes().unwrap()[&1].1, [1]);
    datapath.maps.remove_remote(1).unwrap();
    datapath.maps.remove_remote(1).unwrap();
    assert_eq!(datapath.maps.remotes().unwrap().keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn prefixes_of_both_families_come_back_as_they_were_put() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    let all = [
        ("172.16.7.0", 24, Behind::Remote(1)),
        ("0.0.0.0", 0, Behind::Remote(2_047)),
        ("2001:db8::", 32, Behind::Nowhere),
        ("::", 0, Behind::Own),
    ];
    for (address, length, behind) in all {
        datapath.maps.set_prefix(address.parse().unwrap(), length, behind).unwrap();
    }
    let back = datapath.maps.prefixes().unwrap();
    assert_eq!(back.len(), all.len());
    for (address, length, behind) in all {
        assert_eq!(back[&(address.parse().unwrap(), length)], behind, "{address}/{length}");
    }
    datapath.maps.remove_prefix("172.16.7.0".parse().unwrap(), 24).unwrap();
    assert_eq!(datapath.maps.prefixes().unwrap().len(), 3);
}

#[test]
fn who_only_looks_makes_nothing_and_sees_half_a_datapath_as_none() {
    let bpffs = Bpffs::new();
    assert!(Datapath::adopt(&bpffs.path()).unwrap().is_none());
    assert!(!bpffs.path().exists(), "nothing was made");
    let datapath = Datapath::open(&bpffs.path()).unwrap();
    assert!(Datapath::adopt(&bpffs.path()).unwrap().is_some());
    std::fs::remove_file(bpffs.path().join(format!("v{}/ps_window", layout::LAYOUT))).unwrap();
    assert!(Datapath::adopt(&bpffs.path()).unwrap().is_none());
    assert!(!is_pinned(&bpffs.path()));
    drop(datapath);
}

#[test]
fn a_slot_is_known_by_the_interface_that_it_got_last_and_an_interface_is_of_one_slot() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    let mut slots_of = |puts: &[(u32, u8)], indexes: [u32; 3]| {
        puts.iter().for_each(|(index, slot)| datapath.maps.set_slot(*index, *slot).unwrap());
        indexes.map(|index| datapath.maps.slot(index).unwrap())
    };
    assert_eq!(slots_of(&[], [5, 6, 7]), [0, 0, 0]);
    assert_eq!(slots_of(&[(5, 1), (6, 8)], [5, 6, 7]), [1, 8, 0]);
    assert_eq!(slots_of(&[(7, 1)], [5, 6, 7]), [0, 8, 1], "made anew, it has another index");
    assert_eq!(slots_of(&[(6, 2)], [5, 6, 7]), [0, 2, 1], "it is of another slot now");
    assert_eq!(slots_of(&[(7, 0)], [5, 6, 7]), [0, 2, 0], "and it is of none");
}

#[test]
fn a_class_that_comes_back_begins_without_what_was_chosen_for_it() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    let put = |datapath: &mut Datapath, classes| datapath.maps.set_remote(1, REMOTE, classes, 1_024).unwrap();
    put(&mut datapath, &[1, 2]);
    for class in [1, 2] {
        datapath.maps.choose(1, class, Chosen { active: 1, ..Chosen::default() }).unwrap();
    }
    let chosen = |datapath: &Datapath| datapath.maps.chosen().unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(chosen(&datapath), [(1, 1), (1, 2)]);
    put(&mut datapath, &[1]);
    put(&mut datapath, &[1, 2]);
    assert_eq!(chosen(&datapath), [(1, 1)]);
    datapath.maps.remove_remote(1).unwrap();
    put(&mut datapath, &[1, 2]);
    assert_eq!(chosen(&datapath), []);
}

#[test]
fn windows_left_behind_by_an_agent_that_died_are_made_anew_if_they_have_another_size() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    datapath.maps.make_inner([(1, 1)], 1_024).unwrap();
    let before = datapath.maps.memory(1).unwrap();
    datapath.maps.set_remote(1, REMOTE, &[1], 4_096).unwrap();
    assert!(datapath.maps.memory(1).unwrap() > 2 * before, "they are as small as before");
}

#[test]
fn memory_for_a_remote_is_what_its_window_is_declared_to_hold() {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    for (id, window) in [(1, 1_024u32), (2, 16_384), (3, 65_536)] {
        let remote = Remote { address: [10, 100, 0, id as u8], ..REMOTE };
        datapath.maps.set_remote(id, remote, &[1, 2, 3], window).unwrap();
        let measured = datapath.maps.memory(id).unwrap();
        // 256 buckets: a word of 8 bytes for 32 packets, and a counter that the kernel rounds up to 8 bytes
        let reckoned = 3 * 256 * u64::from(window / 32 * 8 + 8);
        println!("window {window}, 3 classes: {measured} bytes, reckoned {reckoned}");
        // each of the six maps has a head, pages are whole, and before 6.4 the kernel reckons a key of every entry too
        assert!((reckoned..2 * reckoned + 6 * 8_192).contains(&measured), "{measured} bytes, not {reckoned}");
    }
    datapath.maps.remove_remote(2).unwrap();
    let left = datapath.maps.memory(2).unwrap();
    assert!((1..3 * (256 * 8 + 8_192)).contains(&left), "{left} bytes: not its sequences alone")
}

#[test]
fn many_remotes_are_made_at_once_in_a_fraction_of_the_time_that_they_take_one_by_one() {
    const REMOTES: u32 = 100;
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open(&bpffs.path()).unwrap();
    let begin = Instant::now();
    datapath.maps.make_inner((1..=REMOTES).map(|id| (id, 1)), 1_024).unwrap();
    let at_once = begin.elapsed();
    let begin = Instant::now();
    (1..=REMOTES).for_each(|id| datapath.maps.make_inner([(REMOTES + id, 1)], 1_024).unwrap());
    let one_by_one = begin.elapsed();
    println!("{REMOTES} remotes: {at_once:?} at once, {one_by_one:?} one by one");
    for id in [1, REMOTES, REMOTES + 1, 2 * REMOTES] {
        assert_eq!(datapath.maps.memory(id).unwrap(), datapath.maps.memory(1).unwrap());
        assert!(datapath.maps.memory(id).unwrap() > 0);
    }
    assert!(at_once * 3 < one_by_one, "{at_once:?} against {one_by_one:?}");
}
