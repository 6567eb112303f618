//! Real workers in real namespaces.

mod burst;
mod checksum;
mod ecn;
mod forged;
mod fragments;
mod inside;
mod interop;
mod many;
mod net;
mod relay;
mod snmp;
mod traffic;

use std::path::Path;
use std::time::Duration;

use interop::WireguardGo;
use net::{LINK, Net, ip, kill_9, visit, wait};
use nix::unistd::{Pid, getsid};
use pathsteer_wireguard::{DeviceConfig, PeerConfig, UserspaceBackend, WireguardBackend};
use traffic::Traffic;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn two_workers_carry_packets_and_the_passive_side_learns_the_endpoint() {
    let net = Net::connected();
    let traffic = Traffic::start(&net.a, &net.b);
    wait("packets at b", SOON, || net.b.peer().rx_bytes > 10_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");

    let (a, b) = (net.a.status(), net.b.peer());
    assert_eq!((a.slot, a.devices[0].listen_port), (1, net::PORT));
    assert_eq!(a.public_key, net.a.public_key);
    assert_eq!(b.public_key, net.a.public_key);
    assert_eq!(b.endpoint, Some((net.a.wan_address, net::PORT).into()));
    assert_eq!(b.allowed_ips, [net.a.address.into()]);
    assert!(b.handshake_age_seconds.is_some_and(|age| age < 10), "{b:?}");
    assert_eq!((a.devices[0].peers[0].keepalive_seconds, b.keepalive_seconds), (5, 0));
}

#[test]
fn a_killed_passive_worker_greets_the_peers_it_remembers() {
    let net = Net::connected();
    let traffic = Traffic::start(&net.a, &net.b);
    wait("traffic", SOON, || net.b.peer().rx_bytes > 10_000);
    let old = net.b.pid();
    kill_9(old);
    let status = net.b.ensure(&net.config_b());
    assert_ne!(status.pid, old.as_raw().cast_unsigned());
    wait("a session", SOON, || net.b.peer().handshake_age_seconds.is_some());
    let rx = net.b.peer().rx_bytes;
    wait("traffic again", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    let account = traffic.finish();
    assert!(account.longest_gap < Duration::from_secs(1), "{account:?}");
    wait("no zombie", SOON, || !Path::new(&format!("/proc/{old}")).exists());
}

#[test]
fn a_killed_active_worker_is_back_within_a_second() {
    let net = Net::connected();
    let traffic = Traffic::start(&net.a, &net.b);
    wait("traffic", SOON, || net.b.peer().rx_bytes > 10_000);
    kill_9(net.a.pid());
    net.a.ensure(&net.config_a());
    wait("traffic again", SOON, || net.a.peer().rx_bytes > 10_000);
    let account = traffic.finish();
    assert!(account.longest_gap < Duration::from_secs(1), "{account:?}");
}

#[test]
fn applying_the_same_again_loses_no_packet_and_keeps_the_session() {
    let net = Net::connected();
    let traffic = Traffic::start(&net.a, &net.b);
    wait("an old session", SOON, || net.a.peer().handshake_age_seconds >= Some(2));
    let pid = net.a.pid();
    for _ in 0..50 {
        assert_eq!(net.a.ensure(&net.config_a()).pid, pid.as_raw().cast_unsigned());
        net.b.ensure(&net.config_b());
    }
    assert!(net.a.peer().handshake_age_seconds >= Some(2));
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn peers_come_change_and_go_without_a_loss_for_the_others() {
    let net = Net::connected();
    let traffic = Traffic::start(&net.a, &net.b);
    wait("an old session", SOON, || net.a.peer().handshake_age_seconds >= Some(2));

    let mut config = net.config_a();
    let kept = config.devices[0].peers[0].clone();
    let stranger = PeerConfig {
        public_key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".into(),
        endpoint: Some("192.0.2.77:51821".parse().unwrap()),
        allowed_ips: vec!["10.100.128.77/32".parse().unwrap()],
        keepalive_seconds: 5,
    };
    config.devices[0].peers.push(stranger);
    let status = net.a.ensure(&config);
    assert_eq!(status.devices[0].peers.len(), 2);

    config.devices[0].peers.pop();
    config.devices[0].peers[0].keepalive_seconds = 9;
    config.devices[0].peers[0].allowed_ips.push("10.100.0.2/32".parse().unwrap());
    let status = net.a.ensure(&config);
    let [peer] = &status.devices[0].peers[..] else { panic!("{status:?}") };
    assert_eq!((&peer.public_key, peer.keepalive_seconds), (&kept.public_key, 9));
    assert_eq!(peer.allowed_ips, ["10.100.0.2/32".parse().unwrap(), net.b.address.into()]);
    assert!(peer.handshake_age_seconds >= Some(2), "{peer:?}");
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn a_changed_endpoint_moves_the_packets_and_keeps_the_session() {
    let net = Net::connected();
    ip(&format!("-n {} address add 192.0.2.22/24 dev wan0", net.b.underlay));
    let traffic = Traffic::start(&net.a, &net.b);
    wait("an old session", SOON, || net.a.peer().handshake_age_seconds >= Some(2));
    let mut config = net.config_a();
    let moved = "192.0.2.22:51821".parse().unwrap();
    config.devices[0].peers[0].endpoint = Some(moved);
    net.a.ensure(&config);
    assert!(net.a.peer().handshake_age_seconds >= Some(2));
    let rx = net.b.peer().rx_bytes;
    wait("packets by the new endpoint", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn a_tun_made_anew_is_attached_to_with_the_session_kept() {
    let net = Net::connected();
    wait("an old session", SOON, || net.a.peer().handshake_age_seconds >= Some(2));
    ip(&format!("-n {} link del {LINK}", net.a.netns));
    let problem = net.a.status().devices[0].problem.clone();
    assert!(problem.is_some_and(|problem| problem.contains(LINK)), "a TUN that is gone is a problem");

    net.a.make_tun();
    assert!(net.a.ensure(&net.config_a()).devices[0].peers[0].handshake_age_seconds >= Some(2));
    let traffic = Traffic::start(&net.a, &net.b);
    let rx = net.b.peer().rx_bytes;
    wait("packets by the new TUN", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

#[test]
fn a_tun_that_goes_down_neither_ends_nor_spins_the_worker() {
    let net = Net::connected();
    let pid = net.a.pid();
    for state in ["down", "gone"] {
        ip(&format!("-n {} link {} {LINK}", net.a.netns, if state == "down" { "set down dev" } else { "del" }));
        let (begin, cpu) = (std::time::Instant::now(), cpu_ticks(pid));
        wait("half a second", SOON, || begin.elapsed() > Duration::from_millis(500));
        // 50 ticks of 10 ms would be a thread that spins.
        assert!(cpu_ticks(pid) - cpu < 15, "{state}: {} ticks in 500 ms", cpu_ticks(pid) - cpu);
    }
    net.a.make_tun();
    net.a.ensure(&net.config_a());
    let traffic = Traffic::start(&net.a, &net.b);
    let rx = net.b.peer().rx_bytes;
    wait("packets again", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    ip(&format!("-n {} link set {LINK} down", net.a.netns));
    ip(&format!("-n {} link set {LINK} up", net.a.netns));
    let rx = net.b.peer().rx_bytes;
    wait("packets after down and up", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    traffic.finish();
    assert_eq!(net.a.pid(), pid);
}

#[test]
fn a_wan_that_comes_up_late_is_used_at_once() {
    let net = Net::new();
    ip(&format!("-n {} link set wan0 down", net.a.underlay));
    net.b.ensure(&net.config_b());
    net.a.ensure(&net.config_a());
    let begin = std::time::Instant::now();
    // Longer than a new peer is greeted in haste.
    wait("a while without a WAN", 3 * SOON, || begin.elapsed() > Duration::from_secs(11));
    assert_eq!(net.a.peer().handshake_age_seconds, None);
    ip(&format!("-n {} link set wan0 up", net.a.underlay));
    // WireGuard by itself would repeat its handshake only 5 s after the one that could not be sent.
    wait("a session", Duration::from_secs(2), || net.a.peer().handshake_age_seconds.is_some());
}

#[test]
fn a_far_end_that_comes_up_late_is_met_within_two_seconds() {
    let net = Net::new();
    net.a.ensure(&net.config_a());
    let begin = std::time::Instant::now();
    wait("a second alone", SOON, || begin.elapsed() > Duration::from_secs(1));
    net.b.ensure(&net.config_b());
    wait("a session", Duration::from_secs(2), || net.a.peer().handshake_age_seconds.is_some());
}

#[test]
fn a_namespace_made_anew_under_its_name_is_used() {
    let net = Net::connected();
    ip(&format!("netns del {}", net.a.netns));
    let problem = net.a.status().devices[0].problem.clone();
    assert!(problem.is_some_and(|problem| problem.contains(&net.a.netns)));
    ip(&format!("netns add {}", net.a.netns));
    net.a.make_tun();
    net.a.ensure(&net.config_a());
    wait("a session", SOON, || net.a.peer().handshake_age_seconds.is_some());
    let traffic = Traffic::start(&net.a, &net.b);
    let rx = net.b.peer().rx_bytes;
    wait("packets", SOON, || net.b.peer().rx_bytes > rx + 10_000);
    traffic.finish();
}

#[test]
fn a_device_without_its_tun_is_a_problem_and_no_tun_is_made_for_it() {
    let net = Net::new();
    let mut config = net.config_a();
    let missing = DeviceConfig { link: "psw1a2".into(), listen_port: 51_822, ..config.devices[0].clone() };
    config.devices.push(missing);
    let status = net.a.backend.ensure(&config).unwrap();
    assert_eq!(status.devices[0].problem, None);
    assert!(status.devices[1].problem.as_ref().is_some_and(|problem| problem.contains("psw1a2")), "{status:?}");
    visit(&net.a.netns, || assert!(nix::net::if_::if_nametoindex("psw1a2").is_err()));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_and_the_old_one_stays() {
    let net = Net::connected();
    let mut config = net.config_a();
    config.devices[0].peers[0].public_key = "nonsense".into();
    assert!(net.a.backend.ensure(&config).unwrap_err().to_string().contains("nonsense"));
    assert_eq!(net.a.status().config_digest, net.config_a().digest());
    net.a.backend.remove(1).unwrap();
    let error = net.a.backend.ensure(&config).unwrap_err().to_string();
    assert!(error.contains("nonsense"), "a worker that cannot start says why: {error}");
}

#[test]
fn whoever_waits_hears_of_another_configuration_and_of_the_end() {
    let net = Net::new();
    let config = net.config_a();
    net.a.ensure(&config);
    let waiter = || {
        let (socket, digest) = (config.socket_path.clone(), config.digest());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(UserspaceBackend::changed(&socket, &digest))
        })
    };
    let waiting = waiter();
    net.a.ensure(&config);
    assert!(!waiting.is_finished(), "the same again is no other");
    net.a.ensure(&net.a.config(Vec::new()));
    waiting.join().unwrap().unwrap();
    waiter().join().unwrap().expect("it is another one already");
    net.a.ensure(&config);
    let waiting = waiter();
    assert!(!waiting.is_finished());
    kill_9(net.a.pid());
    // it may have come too late to hear it
    let _ = waiting.join().unwrap();
}

#[test]
fn agents_that_race_end_up_with_one_worker() {
    let net = Net::new();
    let config = net.config_a();
    let pids: Vec<u32> = std::thread::scope(|scope| {
        let agents: Vec<_> = (0..4).map(|_| scope.spawn(|| net.a.ensure(&config).pid)).collect();
        agents.into_iter().map(|agent| agent.join().unwrap()).collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let log = std::fs::read_to_string(net.a.backend.run_dir.join("slot1.log")).unwrap();
    assert!(!log.contains("already has a worker"), "one of them started a second one in vain: {log}");
}

#[test]
fn a_worker_whose_socket_was_deleted_keeps_others_out_of_its_slot() {
    let net = Net::connected();
    let pid = net.a.pid();
    std::fs::remove_file(net.a.backend.socket_path(1)).unwrap();
    let error = net.a.backend.ensure(&net.config_a()).unwrap_err().to_string();
    assert!(error.contains("slot 1 already has a worker"), "{error}");
    kill_9(pid);
    net.a.ensure(&net.config_a());
}

#[test]
fn a_worker_has_its_own_session_and_remove_ends_it() {
    let net = Net::connected();
    let pid = net.a.pid();
    assert_eq!(getsid(Some(pid)).unwrap(), pid);
    assert_ne!(getsid(None).unwrap(), pid);
    net.a.backend.remove(1).unwrap();
    assert_eq!(net.a.backend.status(1).unwrap(), None);
    wait("its end", SOON, || !Path::new(&format!("/proc/{pid}")).exists());
    net.a.backend.remove(1).unwrap();
    visit(&net.a.netns, || assert!(nix::net::if_::if_nametoindex(LINK).is_ok(), "the TUN stays"));
}

#[test]
fn a_worker_outlives_the_agent_that_started_it() {
    let net = Net::new();
    let config_path = net.a.key_path().with_file_name("config.json");
    std::fs::write(&config_path, serde_json::to_string(&net.config_a()).unwrap()).unwrap();
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_pathsteer-wireguard"))
        .args(["start".as_ref(), "--config".as_ref(), config_path.as_os_str()])
        .args(["--run-dir".as_ref(), net.a.backend.run_dir.as_os_str()])
        .spawn()
        .unwrap();
    wait("the worker", SOON, || net.a.backend.status(1).unwrap().is_some());
    agent.kill().unwrap();
    agent.wait().unwrap();
    let pid = net.a.pid();
    assert_eq!(net.a.ensure(&net.config_a()).pid, pid.as_raw().cast_unsigned(), "the next agent adopts it");
    net.b.ensure(&net.config_b());
    wait("a session", SOON, || net.a.peer().handshake_age_seconds.is_some());
}

#[test]
fn wireguard_go_at_the_far_end_understands_us() {
    let net = Net::new();
    let go = WireguardGo::start(&net.b, &net.a);
    net.a.ensure(&net.config_a());
    wait("a session", SOON, || net.a.peer().handshake_age_seconds.is_some());
    let traffic = Traffic::between((&net.a.netns, net.a.address), (&net.b.underlay, net.b.address));
    wait("packets from it", SOON, || net.a.peer().rx_bytes > 100_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
    assert_eq!(go.endpoint_of(&net.a), format!("{}:{}", net.a.wan_address, net::PORT));
}

/// CPU time of a process in ticks of 10 ms.
fn cpu_ticks(pid: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // proc(5): utime and stime are fields 14 and 15, the state after the name is field 3.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
