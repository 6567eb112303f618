//! An anchor's device: a peer per site.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use pathsteer_wireguard::{PeerConfig, WireguardBackend, ensure_private_key};

use crate::net::{Net, PORT, wait};
use crate::traffic::Traffic;

const PEERS: u16 = 500;

#[test]
fn five_hundred_peers_are_configured_in_seconds_and_a_removed_one_leaves_nothing() {
    let net = Net::connected();
    let keys = tempfile::tempdir().unwrap();
    let stranger = |number: u16| PeerConfig {
        public_key: ensure_private_key(&keys.path().join(number.to_string())).unwrap(),
        endpoint: Some((net.a.wan_address, 10_000 + number).into()),
        allowed_ips: vec![format!("10.101.{}.{}/32", number / 256, number % 256).parse().unwrap()],
        keepalive_seconds: 0,
    };
    let (memory, mut config) = (memory_of(net.b.pid().as_raw()), net.config_b());
    config.devices[0].peers.extend((1..PEERS).map(stranger));
    let traffic = Traffic::start(&net.a, &net.b);
    let begin = Instant::now();
    let status = net.b.ensure(&config);
    let took = begin.elapsed();
    assert_eq!(status.devices[0].peers.len(), usize::from(PEERS));
    let more = memory_of(net.b.pid().as_raw()) - memory;
    println!("{PEERS} peers: {took:?} to configure, {more} KiB more");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(more < 64 << 10, "{more} KiB");

    let removed = config.devices[0].peers.pop().unwrap();
    let status = net.b.ensure(&config);
    assert!(!status.devices[0].peers.iter().any(|peer| peer.public_key == removed.public_key));
    let remembered = || std::fs::read_to_string(net.config_b().state_path).unwrap();
    wait("it to be forgotten", Duration::from_secs(5), || !remembered().contains(&removed.public_key));
    assert!(remembered().contains(&config.devices[0].peers[1].public_key), "as the others are not");
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn a_worker_that_hangs_is_replaced_in_seconds() {
    let net = Net::connected();
    let pid = net.a.pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    let begin = Instant::now();
    let status = net.a.ensure(&net.config_a());
    assert_ne!(status.pid, pid.as_raw().cast_unsigned());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    wait("a session", Duration::from_secs(5), || net.a.peer().handshake_age_seconds.is_some());
}

#[test]
fn a_worker_without_offload_carries_the_same_packets() {
    let net = Net::new();
    let (mut a, mut b) = (net.config_a_to((net.b.wan_address, PORT)), net.config_b());
    (a.offload, b.offload) = (false, false);
    net.b.ensure(&b);
    net.a.ensure(&a);
    wait("a session", Duration::from_secs(5), || net.a.peer().handshake_age_seconds.is_some());
    let traffic = Traffic::start(&net.a, &net.b);
    wait("packets", Duration::from_secs(5), || net.b.peer().rx_bytes > 10_000);
    assert_eq!(traffic.finish().lost, 0);
    // And back, in the same worker.
    let pid = net.a.pid();
    net.a.ensure(&net.config_a());
    assert_eq!(net.a.pid(), pid);
    wait("a session", Duration::from_secs(5), || net.a.peer().handshake_age_seconds.is_some());
    net.a.backend.remove(1).unwrap();
}

/// Resident memory in KiB.
fn memory_of(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
