//! What is made by hand gets onto a wire as it is, and what is on a wire is found.

mod row;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use pathsteer_lab::capture::{Recording, inject};
use pathsteer_lab::clock;
use pathsteer_lab::craft::{Gre, Ipv4, Mac, SYN, Tcp, ethernet, fragments, ip, udp};
use pathsteer_lab::host::Host;
use pathsteer_lab::traffic::Marker;
use row::{Row, row};

fn mac(host: &Host, card: &str) -> Mac {
    let shown = host.output("ip", &["-br", "link", "show", card]).unwrap();
    let word = shown.split_whitespace().nth(2).unwrap_or_else(|| panic!("{shown}"));
    let bytes: Vec<u8> = word.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The frame that takes `packet` from the client to the server.
fn frame(row: &Row, packet: &[u8]) -> Vec<u8> {
    ethernet(mac(&row.client, "right"), mac(&row.server, "left"), packet)
}

fn server(row: &Row, address: SocketAddr) -> UdpSocket {
    let socket = row.server.net.run(|| Ok(UdpSocket::bind(address)?)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

#[test]
fn a_crafted_datagram_is_delivered_from_whatever_source_it_claims() {
    let row = row(&[1_500]);
    for [_, to] in row.sockets(0, 5_000) {
        let claimed: IpAddr = if to.is_ipv4() { "192.0.2.77".parse() } else { "2001:db8::77".parse() }.unwrap();
        let socket = server(&row, to);
        let packet = udp(SocketAddr::new(claimed, 4_000), to, Marker::GUEST.bytes());
        inject(&row.client.net, "right", &[frame(&row, &packet)]).unwrap();
        let mut got = [0; 64];
        let (length, from) = socket.recv_from(&mut got).unwrap();
        assert_eq!((&got[..length], from), (&Marker::GUEST.bytes()[..], SocketAddr::new(claimed, 4_000)));
    }
}

#[test]
fn a_datagram_with_one_wrong_bit_is_not_delivered_but_its_twin_is() {
    let row = row(&[1_500]);
    for [from, to] in row.sockets(4_000, 5_000) {
        let socket = server(&row, to);
        let twin = udp(from, to, b"twin");
        let mut wrong = twin.clone();
        *wrong.last_mut().unwrap() ^= 1;
        inject(&row.client.net, "right", &[frame(&row, &wrong), frame(&row, &twin)]).unwrap();
        let mut got = [0; 64];
        let length = socket.recv(&mut got).unwrap();
        assert_eq!(&got[..length], b"twin");
    }
}

#[test]
fn crafted_fragments_are_put_together_whatever_their_order() {
    let row = row(&[1_500]);
    let payload: Vec<u8> = (0..3_000_u32).map(|number| (number * 3) as u8).collect();
    for [from, to] in row.sockets(4_000, 5_000) {
        let socket = server(&row, to);
        let mut frames: Vec<Vec<u8>> =
            fragments(&udp(from, to, &payload), 800, 77).iter().map(|piece| frame(&row, piece)).collect();
        frames.reverse();
        inject(&row.client.net, "right", &frames).unwrap();
        let mut got = vec![0; 4_000];
        let length = socket.recv(&mut got).unwrap();
        assert_eq!(got[..length], payload);
    }
}

/// Connections that `host` has reset so far.
fn resets(host: &Host) -> u64 {
    let text = host.net.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?)).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "OutRsts");
    found.unwrap().1.parse().unwrap()
}

#[test]
fn a_crafted_connection_request_is_answered() {
    let row = row(&[1_500]);
    for [from, to] in row.sockets(4_000, 5_000) {
        let listener = row.server.net.run(|| Ok(std::net::TcpListener::bind(to)?)).unwrap();
        let watching = Recording::start(&row.client.net, "right").unwrap();
        let before = resets(&row.client);
        let request = Tcp { source: from, destination: to, sequence: 7, acknowledgement: 0, flags: SYN };
        inject(&row.client.net, "right", &[frame(&row, &request.packet(b""))]).unwrap();
        // The client's own kernel, which never asked, resets it: by then the answer has been there.
        let deadline = clock::now() + Duration::from_secs(5);
        let reset = clock::wait_until(deadline, Duration::from_millis(5), || resets(&row.client) > before);
        assert!(reset, "no answer came");
        let (at, header) = if from.is_ipv4() { (14 + 20, 23) } else { (14 + 40, 20) };
        let frames = watching.finish().unwrap();
        let answers = frames.count(|frame| {
            let segment = frame.bytes.get(at..at + 14);
            frame.bytes[header] == 6 && segment.is_some_and(|tcp| tcp[8..12] == [0, 0, 0, 8] && tcp[13] == SYN | 0x10)
        });
        assert!(answers >= 1, "{frames:?}");
        drop(listener);
    }
}

#[test]
fn every_marker_is_found_wherever_it_is_in_a_frame_of_any_length() {
    let row = row(&[9_000]);
    let [from, to] = row.ends()[0];
    let watching = Recording::start(&row.server.net, "left").unwrap();
    let mut long = vec![0x5a; 8_900];
    long.extend(Marker::BEST_EFFORT.bytes());
    let IpAddr::V4(v4) = from else { panic!("the first family is IPv4") };
    let hidden = Gre { protocol: 0x0800, key: 1, sequence: 1 }.payload(Marker::SERVICE.bytes());
    let packets = [
        ip(from, to, 253, &long),
        Ipv4 { options: vec![1; 40], ..Ipv4::new(v4, v4, Gre::PROTOCOL) }.packet(&hidden),
        ip(from, to, 253, b"no marker"),
    ];
    let frames: Vec<Vec<u8>> = packets.iter().map(|packet| frame(&row, packet)).collect();
    inject(&row.client.net, "right", &frames).unwrap();
    let seen = watching.finish().unwrap();
    let found = Marker::ALL.map(|marker| seen.marked(marker));
    assert_eq!(found, [0, 1, 0, 1, 0], "in the order of the treatments");
    assert!(frames.iter().all(|frame| seen.count(|one| one.bytes == *frame) == 1));
}
