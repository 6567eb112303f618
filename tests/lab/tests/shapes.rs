//! Packets have the shape that was asked for: on the wire, as a recording shows it, and where they arrive.

mod pair;
mod row;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use pair::{CLIENT, CLIENT6, LINE, SERVER, SERVER6, dual_pair};
use pathsteer_lab::capture::{Frame, Frames, Recording};
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::host::Host;
use pathsteer_lab::offload::{self, Offload};
use pathsteer_lab::shape::{self, Discovery};
use pathsteer_lab::traffic::{Marker, transfer};
use row::{Row, row};

const PATIENCE: Duration = Duration::from_secs(5);
/// Of a transfer: several hundred segments.
const SIZE: usize = 2 << 20;
/// Ethernet and the largest packet of these cables.
const FULL: usize = 14 + 1_500;

fn bind(host: &Host, address: SocketAddr) -> UdpSocket {
    let socket = host.net.run(|| Ok(UdpSocket::bind(address)?)).expect("the address is configured");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A bound client and server for each family. Each `number` has ports of its own: those of the last one may not be free
/// yet.
fn sockets(row: &Row, number: u16) -> [(UdpSocket, UdpSocket, SocketAddr); 2] {
    row.sockets(40_000 + number, 5_000 + number).map(|[from, to]| (bind(&row.client, from), bind(&row.server, to), to))
}

fn recording(row: &Row) -> Recording {
    Recording::start(&row.server.net, "left").unwrap()
}

fn is_v4(frame: &Frame) -> bool {
    frame.bytes[12..14] == [0x08, 0x00]
}

/// TCP segments with payload, from the client.
fn data(frames: &Frames) -> Vec<&Frame> {
    frames.0.iter().filter(|frame| !frame.outgoing && is_v4(frame) && Marker::MIXED.is_in(&frame.bytes)).collect()
}

#[test]
fn traffic_class_and_hops_are_those_that_were_set() {
    let row = row(&[1_500]);
    for (client, server, to) in sockets(&row, 0) {
        for class in [0x00, 0xb8, 0xb9, 0xba, 0xbb] {
            shape::set_traffic_class(&client, class).unwrap();
            client.send_to(b"class", to).unwrap();
            let mut bytes = [0; 16];
            let received = shape::receive_with_class(&server, &mut bytes).unwrap();
            // TCP alone may set the lower two bits by itself; the kernel lets UDP do it too.
            assert_eq!(received, (5, class));
        }
        let watching = recording(&row);
        shape::set_hops(&client, 7).unwrap();
        client.send_to(b"hops", to).unwrap();
        server.recv(&mut [0; 16]).unwrap();
        let at = if to.is_ipv4() { 14 + 8 } else { 14 + 7 };
        let frames = watching.finish().unwrap();
        assert_eq!(frames.count(|frame| frame.bytes.ends_with(b"hops") && frame.bytes[at] == 7), 1);
    }
}

#[test]
fn a_congested_line_marks_what_understands_marks_and_nothing_else() {
    let pair = dual_pair();
    pair.link.settings(Way::Up).set_profile(Profile { mark_ppm: 1_000_000, ..LINE });
    for (from, to) in [(CLIENT.into(), SERVER.into()), (CLIENT6.into(), SERVER6.into())] {
        let to = SocketAddr::new(to, 5_000);
        let (client, server) = (bind(&pair.ends.client, SocketAddr::new(from, 40_000)), bind(&pair.ends.server, to));
        for (sent, arrives) in [(0xb8, 0xb8), (0xb9, 0xbb), (0xba, 0xbb), (0xbb, 0xbb)] {
            shape::set_traffic_class(&client, sent).unwrap();
            client.send_to(b"marked", to).unwrap();
            assert_eq!(shape::receive_with_class(&server, &mut [0; 16]).unwrap(), (6, arrives));
        }
    }
    assert_eq!(pair.link.count(Way::Up).marked, 4);
}

#[test]
fn ip_options_and_destination_options_are_on_the_wire_and_the_payload_behind_them() {
    let row = row(&[1_500]);
    let watching = recording(&row);
    let [(v4, server4, to4), (v6, server6, to6)] = sockets(&row, 0);
    // Router alert (RFC 2113), which routers leave in place.
    shape::set_ip_options(&v4, &[148, 4, 0, 0]).unwrap();
    shape::set_destination_options(&v6, 4).unwrap();
    for (client, server, to) in [(&v4, &server4, to4), (&v6, &server6, to6)] {
        client.send_to(Marker::SERVICE.bytes(), to).unwrap();
        assert_eq!(server.recv(&mut [0; 64]).unwrap(), 16);
    }
    let frames = watching.finish().unwrap();
    assert_eq!(frames.marked(Marker::SERVICE), 2);
    assert_eq!(frames.count(|frame| frame.bytes[14] == 0x46 && frame.bytes[34..38] == [148, 4, 0, 0]), 1);
    assert_eq!(frames.count(|frame| !is_v4(frame) && frame.bytes[20] == 60), 1);
}

#[test]
fn a_datagram_longer_than_the_mtu_comes_in_fragments_and_arrives_whole() {
    let row = row(&[1_500]);
    let watching = recording(&row);
    let sent: Vec<u8> = (0..4_000_u32).map(|number| (number * 7) as u8).collect();
    for (client, server, to) in sockets(&row, 0) {
        shape::set_discovery(&client, Discovery::Never).unwrap();
        client.send_to(&sent, to).unwrap();
        let mut got = vec![0; 5_000];
        let length = server.recv(&mut got).unwrap();
        assert_eq!(got[..length], sent);
    }
    let frames = watching.finish().unwrap();
    let v4 = |frame: &Frame| is_v4(frame) && frame.bytes[23] == 17 && frame.bytes.len() <= FULL;
    let v6 = |frame: &Frame| !is_v4(frame) && frame.bytes[20] == 44 && frame.bytes.len() <= FULL;
    assert_eq!((frames.count(v4), frames.count(v6)), (3, 3));
}

#[test]
fn datagrams_sent_in_one_go_arrive_one_by_one_cut_by_the_card_or_by_the_kernel() {
    let row = row(&[1_500]);
    let sent: Vec<u8> = (0..20_u8).flat_map(|number| vec![number; 1_000]).collect();
    for (number, by_card) in [(0, true), (1, false)] {
        row.client.net.run(|| offload::set("right", Offload::TransmitChecksum, by_card)).unwrap();
        for (client, server, to) in sockets(&row, number) {
            let watching = recording(&row);
            shape::send_segments(&client, to, 1_000, &sent).unwrap();
            for number in 0..20 {
                let mut got = [0; 2_000];
                assert_eq!(server.recv(&mut got).unwrap(), 1_000);
                assert_eq!(got[..1_000], [number; 1_000]);
            }
            let long = watching.finish().unwrap().count(|frame| frame.bytes.len() > FULL);
            assert_eq!(long > 0, by_card, "{long} frames were longer than a packet may be");
        }
    }
}

#[test]
fn tcp_leaves_in_large_segments_only_where_the_card_may_cut_them() {
    let row = row(&[1_500]);
    for (run, by_card) in [(0, true), (1, false)] {
        row.client.net.run(|| offload::set("right", Offload::TransmitChecksum, by_card)).unwrap();
        for [from, to] in row.sockets(41_000 + run, 5_000 + run) {
            let watching = recording(&row);
            transfer((&row.client, from), (&row.server, to), SIZE, Marker::MIXED, PATIENCE).unwrap();
            let frames = watching.finish().unwrap();
            let long = frames.count(|frame| frame.bytes.len() > FULL);
            assert_eq!(long > 0, by_card, "{long} segments were longer than a packet may be");
            assert!(frames.marked(Marker::MIXED) > 20);
        }
    }
}

#[test]
fn fixed_ids_are_all_zero_and_a_merging_receiver_puts_such_segments_together() {
    let row = row(&[1_500]);
    // Each transfer has ports of its own: those of the last one may not be free yet.
    let ports = |number: u16| row.sockets(42_000 + number, 5_000 + number)[0];
    let [from, to] = ports(0);
    let watching = recording(&row);
    transfer((&row.client, from), (&row.server, to), SIZE, Marker::MIXED, PATIENCE).unwrap();
    let frames = watching.finish().unwrap();
    let ids = data(&frames).iter().filter(|frame| frame.bytes[18..20] != [0, 0]).count();
    assert!(ids > 10, "an ordinary sender counts them up: {ids} are not zero");

    shape::fix_ip_ids(&row.client, "right").unwrap();
    for (number, merging) in [(1, false), (2, true)] {
        if merging {
            offload::merge_segments(&row.server.net, "left").unwrap();
        }
        let watching = recording(&row);
        let [from, to] = ports(number);
        transfer((&row.client, from), (&row.server, to), SIZE, Marker::MIXED, PATIENCE).unwrap();
        let frames = watching.finish().unwrap();
        let data = data(&frames);
        assert!(data.iter().all(|frame| frame.bytes[18..20] == [0, 0]));
        let merged = data.iter().filter(|frame| frame.bytes.len() > FULL).count();
        assert_eq!(merged > 0, merging, "{merged} of {} were merged", data.len());
    }
}
