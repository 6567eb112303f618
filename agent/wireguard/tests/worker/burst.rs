//! Packets that wait in the TUN together, because the worker does not get the processor for a while.

use nix::sys::signal::{Signal, kill};

use crate::inside::Inside;
use crate::net::{LINK, Net, PORT, ip};
use crate::snmp;

/// Expedited forwarding, in its place above the two bits of ECN.
const DSCP: u8 = 46 << 2;

/// Sends all of `packets` (payload, class) while side a's worker stands still, then has it go on. What arrives must be the
/// same, in the same order.
fn pass(inside: &Inside, net: &Net, packets: &[(Vec<u8>, u8)]) {
    let pid = net.a.pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    for (payload, class) in packets {
        inside.send(*class, payload);
    }
    kill(pid, Signal::SIGCONT).unwrap();
    for (index, (payload, class)) in packets.iter().enumerate() {
        let received = inside.receive(&format!("packet {index}"));
        assert_eq!(received, (*class, payload.clone()), "packet {index} of {}", packets.len());
    }
}

/// `count` packets whose sizes and marks are these in turn, each filled with its number.
fn packets(count: u8, sizes: &[usize], marks: &[u8]) -> Vec<(Vec<u8>, u8)> {
    let turns = sizes.iter().cycle().zip(marks.iter().cycle());
    (0..count).zip(turns).map(|(number, (size, mark))| (vec![number; *size], DSCP | mark)).collect()
}

#[test]
fn packets_that_waited_together_leave_together() {
    let net = Net::connected();
    let inside = Inside::new(&net);
    pass(&inside, &net, &packets(1, &[1_000], &[0]));
    let before = snmp::read(&net.a.underlay, "Udp", "OutDatagrams");
    pass(&inside, &net, &packets(60, &[1_000], &[0]));
    let trains = snmp::read(&net.a.underlay, "Udp", "OutDatagrams") - before;
    // What the kernel takes in one piece it counts as one; keepalives are among them.
    assert!(trains < 20, "60 packets left as {trains} pieces");
}

#[test]
fn more_packets_than_are_read_at_once_arrive_in_order() {
    let net = Net::connected();
    pass(&Inside::new(&net), &net, &packets(200, &[300], &[2]));
}

#[test]
fn packets_of_mixed_sizes_and_marks_arrive_in_order_each_with_its_own() {
    let net = Net::connected();
    pass(&Inside::new(&net), &net, &packets(200, &[700, 700, 700, 20, 1_300, 20, 20], &[0, 2, 2, 2, 3, 1, 1, 2]));
}

#[test]
fn packets_for_a_silent_peer_among_them_hold_up_nobody() {
    let net = Net::connected();
    let mut config = net.config_a();
    let silent = pathsteer_wireguard::PeerConfig {
        public_key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".into(),
        endpoint: Some("198.51.100.77:51821".parse().unwrap()),
        allowed_ips: vec!["10.100.128.77/32".parse().unwrap()],
        keepalive_seconds: 0,
    };
    config.devices[0].peers.push(silent);
    net.a.ensure(&config);
    let inside = Inside::new(&net);
    let pid = net.a.pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    for number in 0..60 {
        inside.send(0, &[number; 100]);
        inside.send_to("10.100.128.77:9000".parse().unwrap(), 0, &[number; 100]);
    }
    kill(pid, Signal::SIGCONT).unwrap();
    for number in 0..60 {
        assert_eq!(inside.receive("a packet").1, [number; 100]);
    }
}

// Each full packet's datagram needs two fragments, and the kernel makes none of what it is to cut up itself.
fn packets_pass_a_wan_that_is_too_small_for_them(is_ipv6: bool) {
    let net = Net::new();
    for side in [&net.a, &net.b] {
        ip(&format!("-n {} link set wan0 mtu 1280", side.underlay));
        ip(&format!("-n {} link set {LINK} mtu 1312", side.netns));
    }
    net.connect((net.b.wan(is_ipv6), PORT));
    pass(&Inside::new(&net), &net, &packets(100, &[1_284, 1_284, 1_284, 100, 1_284, 600], &[2]));
}

#[test]
fn packets_that_waited_together_pass_a_wan_that_is_too_small_for_them_over_ipv4() {
    packets_pass_a_wan_that_is_too_small_for_them(false);
}

#[test]
fn packets_that_waited_together_pass_a_wan_that_is_too_small_for_them_over_ipv6() {
    packets_pass_a_wan_that_is_too_small_for_them(true);
}
