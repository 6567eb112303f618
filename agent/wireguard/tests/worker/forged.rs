//! What is not from a peer, or came before, is counted and goes nowhere.

use std::net::UdpSocket;
use std::time::Duration;

use crate::net::{LINK, Net, PORT, ip, visit, wait};
use crate::relay::Relay;
use crate::traffic::Traffic;

const SOON: Duration = Duration::from_secs(5);
const TIMES: usize = 50;

#[test]
fn replays_and_forgeries_are_counted_one_by_one_and_disturb_nobody() {
    let net = Net::new();
    let relay = Relay::start(&net, false);
    net.connect(relay.address);
    let traffic = Traffic::start(&net.a, &net.b);
    wait("datagrams to take", SOON, || relay.seen().len() > 2 * TIMES);
    let rejected = net.b.status().rejected;
    let taken: Vec<Vec<u8>> = relay.seen().into_iter().take(TIMES).map(|(_, bytes)| bytes).collect();
    let mut sent = rejected;
    let mut expect = |what: &str, forge: &dyn Fn(&mut Vec<u8>), counted: bool| {
        for bytes in &taken {
            let mut bytes = bytes.clone();
            forge(&mut bytes);
            relay.inject(&bytes);
        }
        sent += if counted { taken.len() as u64 } else { 0 };
        wait(what, SOON, || net.b.status().rejected >= sent);
        assert_eq!(net.b.status().rejected, sent, "{what}");
    };
    expect("replays", &|_| {}, true);
    // A counter nobody has used yet, so that it is the seal that gives it away.
    expect("packets that were changed", &|bytes| bytes[12] = 1, true);
    expect("unknown sessions", &|bytes| bytes[4] ^= 0x55, true);
    expect("packets cut short", &|bytes| bytes.truncate(20), true);
    expect("keepalives, which do not count", &|bytes| bytes.truncate(32), false);
    expect("handshakes, which do not count", &|bytes| bytes[0] = 1, false);
    // The uncounted went the same way as these, so they were all seen before.
    expect("replays after them", &|_| {}, true);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");

    // In silence, where nothing genuine says again where side a is.
    let (wan, endpoint) = (relay.address.ip(), net.b.peer().endpoint);
    let stranger = visit(&net.b.underlay, || UdpSocket::bind((wan, 0)).unwrap());
    for bytes in &taken {
        stranger.send_to(bytes, (wan, PORT)).unwrap();
    }
    sent += taken.len() as u64;
    wait("replays by a stranger", SOON, || net.b.status().rejected >= sent);
    assert_eq!((net.b.status().rejected, net.b.peer().endpoint), (sent, endpoint));
}

#[test]
fn a_source_that_is_not_the_peers_is_counted_and_not_delivered() {
    let net = Net::connected();
    ip(&format!("-n {} address add 10.100.128.99/32 dev {LINK}", net.a.netns));
    let server = visit(&net.b.netns, || UdpSocket::bind((net.b.address, 9_000)).unwrap());
    server.set_read_timeout(Some(SOON)).unwrap();
    let from = |source: &str| visit(&net.a.netns, || UdpSocket::bind(source).unwrap());
    let (forged, genuine) = (from("10.100.128.99:0"), from(&format!("{}:0", net.a.address)));
    let rejected = net.b.status().rejected;
    for _ in 0..TIMES {
        forged.send_to(b"forged", (net.b.address, 9_000)).unwrap();
    }
    genuine.send_to(b"genuine", (net.b.address, 9_000)).unwrap();
    let mut buffer = [0; 64];
    let length = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"genuine", "nothing came before it");
    assert_eq!(net.b.status().rejected, rejected + TIMES as u64);
}
