//! Tunnels over IPv6, and tunnels whose datagrams the WAN does not take in one piece.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::net::{LINK, Net, PORT, ip, visit, wait};
use crate::snmp;
use crate::traffic::Traffic;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_tunnel_over_ipv6_carries_packets_and_its_passive_side_learns_the_endpoint() {
    let net = Net::new();
    net.connect((net.b.wan_address6, PORT));
    let traffic = Traffic::start(&net.a, &net.b);
    wait("packets at b", SOON, || net.b.peer().rx_bytes > 10_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
    assert_eq!(net.b.peer().endpoint, Some((net.a.wan_address6, PORT).into()));
}

#[test]
fn a_peer_may_move_from_one_family_to_the_other() {
    let net = Net::connected();
    neighbours_meet(&net);
    let traffic = Traffic::start(&net.a, &net.b);
    wait("packets at b", SOON, || net.b.peer().rx_bytes > 10_000);
    net.a.ensure(&net.config_a_to((net.b.wan_address6, PORT)));
    // Until then b answers where a was, which does not lead a back.
    wait("b to answer there", SOON, || net.b.peer().endpoint == Some((net.a.wan_address6, PORT).into()));
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

/// The first question for a neighbour is lost now and then right after an address is given, and the next comes a second
/// later: asked before it matters. A port that nobody listens to is refused by whoever is there.
fn neighbours_meet(net: &Net) {
    let socket = visit(&net.a.underlay, || UdpSocket::bind((net.a.wan_address6, 0)).unwrap());
    socket.connect((net.b.wan_address6, 9)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait("the neighbours to meet", SOON, || {
        let asked = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 1]));
        asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

/// Full packets of a `tunnel` of that many bytes go over a `wan` of that many and come back; how many fragments the WAN
/// saw of 256 each way.
fn full_packets_pass(wan: usize, tunnel: usize, is_ipv6: bool) -> u64 {
    let net = Net::new();
    for side in [&net.a, &net.b] {
        ip(&format!("-n {} link set wan0 mtu {wan}", side.underlay));
        ip(&format!("-n {} link set {LINK} mtu {tunnel}", side.netns));
    }
    net.connect((net.b.wan(is_ipv6), PORT));
    let server = visit(&net.b.netns, || UdpSocket::bind((net.b.address, 9_000)).unwrap());
    let client = visit(&net.a.netns, || UdpSocket::bind((net.a.address, 0)).unwrap());
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(SOON)).unwrap();
    }
    // Without IP and UDP headers.
    let mut buffer = [0; 10_000];
    for number in 0..=255 {
        let full = vec![number; tunnel - 28];
        client.send_to(&full, (net.b.address, 9_000)).unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..length], from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], full);
    }
    match is_ipv6 {
        true => snmp::read6(&net.a.underlay, "Ip6FragCreates"),
        false => snmp::read(&net.a.underlay, "Ip", "FragCreates"),
    }
}

// A tunnel of 1,312 bytes, which IPv6 inside needs with the shim, over a WAN of 1,280: each full packet's datagram is
// 1,372 bytes long over IPv4 and 1,392 over IPv6.
#[test]
fn full_packets_pass_a_small_wan_over_ipv4_in_two_pieces() {
    assert!(full_packets_pass(1_280, 1_312, false) >= 2 * 256);
}

#[test]
fn full_packets_pass_a_small_wan_over_ipv6_in_two_pieces() {
    assert!(full_packets_pass(1_280, 1_312, true) >= 2 * 256);
}

#[test]
fn full_packets_of_the_largest_tunnel_pass_the_largest_wan_in_one_piece() {
    assert_eq!(full_packets_pass(9_000, 8_920, true), 0);
}
