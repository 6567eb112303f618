//! The emulated line between two real network namespaces.

mod pair;

use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use pair::{CLIENT, LINE, Pair, SERVER, pair};
use pathsteer_lab::clock;
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::realtime;
use pathsteer_lab::traffic::{Marker, Stamp};

const TARGET: SocketAddrV4 = SocketAddrV4::new(SERVER, 7_000);

/// A bound sender and receiver, with the neighbours resolved, so that only their own datagrams travel.
fn sockets(pair: &Pair) -> (UdpSocket, UdpSocket) {
    let bind = |host: &pathsteer_lab::host::Host, address: SocketAddrV4| {
        host.net.run(|| Ok(UdpSocket::bind(address)?)).expect("the address is configured")
    };
    let sender = bind(&pair.ends.client, SocketAddrV4::new(CLIENT, 0));
    let receiver = bind(&pair.ends.server, TARGET);
    sender.send_to(b"who has", TARGET).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    receiver.recv(&mut [0; 16]).expect("the line carries the first datagram");
    (sender, receiver)
}

/// Sends `count` datagrams and returns the delays of those that came.
fn delays(sender: &UdpSocket, receiver: &UdpSocket, count: u64, run: u64) -> Vec<Duration> {
    // The sender may be late by much on a busy machine, by this much it is not.
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let reader = receiver.try_clone().unwrap();
    let receiving = std::thread::spawn(move || {
        // A late reader must not look like a slow line.
        realtime::claim(realtime::SENDER);
        let mut delays = Vec::new();
        let mut bytes = [0; 256];
        while let Ok(length) = reader.recv(&mut bytes) {
            let arrival = clock::now();
            let stamp = Stamp::read(&bytes[..length]).expect("only our datagrams travel");
            assert_eq!(stamp.run, run);
            delays.push(arrival - stamp.sent);
        }
        delays.sort();
        delays
    });
    let start = clock::now();
    for sequence in 0..count {
        clock::sleep_until(start + Duration::from_millis(sequence));
        sender.send_to(&Stamp { run, sequence, sent: clock::now() }.write(Marker::SURVIVABLE, 200), TARGET).unwrap();
    }
    receiving.join().unwrap()
}

#[test]
fn a_datagram_takes_as_long_as_the_line_says() {
    let pair = pair();
    let (sender, receiver) = sockets(&pair);
    let delays = delays(&sender, &receiver, 300, 1);
    assert_eq!(delays.len(), 300);
    let median = delays[150];
    assert!(delays[0] >= LINE.delay, "one came too early: {:?}", delays[0]);
    assert!(median < LINE.delay + Duration::from_millis(3), "the median is {median:?}");
}

#[test]
fn a_blackhole_one_way_swallows_that_way_only_keeps_the_carrier_and_heals() {
    let pair = pair();
    let (sender, receiver) = sockets(&pair);
    let before = pair.link.count(Way::Up);
    pair.link.set_blackhole(Way::Up, true);
    assert!(delays(&sender, &receiver, 50, 1).is_empty());
    let link = pair.ends.client.output("ip", &["-o", "link", "show", "e0"]).unwrap();
    assert!(link.contains("LOWER_UP"), "the carrier is gone: {link}");
    assert_eq!(pair.link.count(Way::Up).blackholed - before.blackholed, 50);
    assert_eq!(pair.link.count(Way::Down).dropped(), 0);
    pair.link.set_blackhole(Way::Up, false);
    assert_eq!(delays(&sender, &receiver, 50, 2).len(), 50);
}

#[test]
fn a_pulled_cable_shows_as_no_carrier() {
    let pair = pair();
    pair.link.set_plugged(false).unwrap();
    let link = pair.ends.client.output("ip", &["-o", "link", "show", "e0"]).unwrap();
    assert!(link.contains("NO-CARRIER"), "{link}");
    pair.link.set_plugged(true).unwrap();
    let link = pair.ends.client.output("ip", &["-o", "link", "show", "e0"]).unwrap();
    assert!(!link.contains("NO-CARRIER"), "{link}");
}

#[test]
fn random_loss_is_as_frequent_as_asked_and_every_frame_is_accounted_for() {
    let pair = pair();
    let (sender, receiver) = sockets(&pair);
    let before = pair.link.count(Way::Up);
    pair.link.settings(Way::Up).set_profile(Profile { loss_ppm: 100_000, ..LINE });
    let received = delays(&sender, &receiver, 1_000, 1).len() as u64;
    let after = pair.link.count(Way::Up);
    assert_eq!(after.lost - before.lost + received, 1_000);
    // Ten percent of 1,000 with a standard deviation below 10: 60 to 140 is four of them.
    assert!((60..=140).contains(&(1_000 - received)), "{} of 1,000 were lost", 1_000 - received);
}

#[test]
fn frames_held_back_are_overtaken_and_doubled_ones_come_twice() {
    let pair = pair();
    let (sender, receiver) = sockets(&pair);
    let hold = Duration::from_millis(5);
    pair.link.settings(Way::Up).set_profile(Profile { reorder_ppm: 500_000, hold, double_ppm: 200_000, ..LINE });
    let all = delays(&sender, &receiver, 500, 1);
    let count = pair.link.count(Way::Up);
    assert_eq!(all.len() as u64, 500 + count.doubled);
    assert!((50..=150).contains(&count.doubled) && (200..=300).contains(&count.held), "{count:?}");
    let held = all.iter().filter(|delay| **delay >= LINE.delay + hold).count();
    assert!(held >= 200, "{held} were late");
}

#[test]
fn a_line_of_9000_bytes_carries_them_also_when_its_card_has_moved() {
    let pair = pair();
    let inner = pathsteer_lab::host::Host::new("inner").unwrap();
    let mut holder = inner.command("sleep").arg("60").spawn().unwrap();
    let moved = pair.ends.client.ip(&format!("link set e0 netns {}", holder.id()));
    holder.kill().unwrap();
    holder.wait().unwrap();
    moved.unwrap();
    inner.ip(&format!("address add {CLIENT}/24 dev e0\nlink set e0 up")).unwrap();
    for mtu in [9_000_u16, 1_280] {
        pair.link.set_mtu(mtu).unwrap();
        for (size, passes) in [(mtu - 28, true), (mtu - 27, false)] {
            let words = ["-M", "do", "-c", "1", "-W", "1", "-s", &size.to_string(), &SERVER.to_string()];
            assert_eq!(inner.output("ping", &words).is_ok(), passes, "{size} bytes at {mtu}");
        }
    }
}

#[test]
fn a_card_moved_to_another_namespace_keeps_its_line() {
    let pair = pair();
    let inner = pathsteer_lab::host::Host::new("inner").unwrap();
    let holder = inner.command("sleep").arg("60").spawn().unwrap();
    let moved = pair.ends.client.ip(&format!("link set e0 netns {}", holder.id()));
    let mut holder = holder;
    holder.kill().unwrap();
    holder.wait().unwrap();
    moved.unwrap();
    inner.ip(&format!("address add {CLIENT}/24 dev e0\nlink set e0 up")).unwrap();
    let echo = inner.output("ping", &["-c1", "-W2", &SERVER.to_string()]);
    assert!(echo.is_ok(), "{echo:?}");
}
