//! The kernel's own WireGuard against itself and against a worker. A kernel without it cannot run these: they count as
//! ignored there, and as failed where `PATHSTEER_REQUIRE_STOCK=1` says that it must have it.

#[allow(dead_code, reason = "shared with the worker's own suite, which uses all of it")]
#[path = "../worker/net.rs"]
mod net;
#[allow(dead_code, reason = "shared with the worker's own suite, which uses all of it")]
#[path = "../worker/traffic.rs"]
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use pathsteer_wireguard::{KernelBackend, PeerConfig, WireguardBackend, WorkerConfig, WorkerStatus, probe_kernel};

use net::{LINK, Net, PORT, Side, ip, wait};
use traffic::Traffic;

const SOON: Duration = Duration::from_secs(30);
/// WireGuard's kernel side repeats a lost handshake after 5 s; the stock kernels run without hardware help.
const SESSION: Duration = Duration::from_secs(60);

type Case = (&'static str, fn());

const CASES: [Case; 8] = [
    ("two_kernels_carry_packets_and_the_passive_side_learns_the_endpoint", carry_and_learn),
    ("a_kernel_and_a_worker_understand_each_other", kernel_and_worker),
    ("applying_the_same_again_keeps_the_session_and_the_endpoint_a_peer_moved_to", same_again),
    ("peers_come_change_and_go_with_the_others_sessions_kept", peers_change),
    ("an_interface_made_anew_greets_the_peers_it_remembers", remembered),
    ("a_device_that_is_removed_keeps_neither_key_nor_peers", removed),
    ("an_interface_that_is_gone_is_a_problem_and_none_is_made_for_it", missing),
    ("a_source_that_is_not_the_peers_counts_as_rejected", rejected),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let unsupported = probe_kernel().err().map(|error| error.to_string());
    let required = std::env::var("PATHSTEER_REQUIRE_STOCK").is_ok_and(|value| value == "1");
    if let Some(why) = &unsupported {
        println!("kernel_backend did not run: {why}");
    }
    let is_ignored = unsupported.is_some() && !required;
    let trial = |(name, case): Case| {
        let unsupported = unsupported.clone();
        let run = move || match unsupported {
            Some(why) => Err(Failed::from(why)),
            None => {
                case();
                Ok(())
            }
        };
        Trial::test(name, run).with_ignored_flag(is_ignored)
    };
    libtest_mimic::run(&arguments, CASES.into_iter().map(trial).collect()).exit_code()
}

/// A side whose interface is the kernel's.
struct Kernel<'a> {
    side: &'a Side,
    backend: KernelBackend,
}

impl Kernel<'_> {
    fn new(side: &Side) -> Kernel<'_> {
        let backend = KernelBackend { run_dir: side.backend.run_dir.with_file_name("kernel") };
        ip(&format!("-n {} link del {LINK}", side.netns));
        let kernel = Kernel { side, backend };
        kernel.make_link();
        kernel
    }

    /// Born where the WAN is, so that its socket is there.
    fn make_link(&self) {
        let Side { netns, underlay, address, .. } = self.side;
        ip(&format!("-n {underlay} link add {LINK} netns {netns} type wireguard"));
        ip(&format!("-n {netns} link set {LINK} mtu 1420 up"));
        ip(&format!("-n {netns} address add {address}/24 dev {LINK}"));
    }

    fn ensure(&self, config: &WorkerConfig) -> WorkerStatus {
        let status = self.backend.ensure(config).unwrap();
        assert_eq!(status.devices[0].problem, None);
        assert_eq!((status.config_digest.clone(), status.pid), (config.digest(), 0));
        status
    }

    fn status(&self) -> WorkerStatus {
        self.backend.status(1).unwrap().expect("it was applied")
    }

    fn has_session(&self) -> bool {
        self.status().devices[0].peers[0].handshake_age_seconds.is_some()
    }
}

fn kernels(net: &Net) -> (Kernel<'_>, Kernel<'_>) {
    let (a, b) = (Kernel::new(&net.a), Kernel::new(&net.b));
    b.ensure(&net.config_b());
    a.ensure(&net.config_a());
    wait("a session", SESSION, || a.has_session() && b.has_session());
    (a, b)
}

/// Packets go both ways.
fn talk(net: &Net, received: impl Fn() -> u64) {
    let traffic = Traffic::start(&net.a, &net.b);
    let before = received();
    wait("packets", SOON, || received() > before + 10_000);
    let account = traffic.finish();
    assert_eq!(account.lost, 0, "{account:?}");
}

fn carry_and_learn() {
    let net = Net::new();
    let (a, b) = kernels(&net);
    talk(&net, || b.status().devices[0].peers[0].rx_bytes);
    let (status, peer) = (a.status(), b.status().devices[0].peers[0].clone());
    assert_eq!((status.slot, status.devices[0].listen_port, status.rejected), (1, PORT, 0));
    assert_eq!(status.public_key, net.a.public_key);
    assert_eq!((peer.public_key, peer.endpoint), (net.a.public_key.clone(), Some((net.a.wan_address, PORT).into())));
    assert_eq!(peer.allowed_ips, [net.a.address.into()]);
    assert_eq!(status.devices[0].peers[0].keepalive_seconds, 5);
}

fn kernel_and_worker() {
    let net = Net::new();
    let a = Kernel::new(&net.a);
    net.b.ensure(&net.config_b());
    a.ensure(&net.config_a());
    wait("a session", SESSION, || a.has_session());
    talk(&net, || net.b.peer().rx_bytes);
}

fn same_again() {
    let net = Net::new();
    let (a, b) = kernels(&net);
    // The far end is heard from another address from now on.
    ip(&format!("-n {} address del 192.0.2.2/24 dev wan0", net.b.underlay));
    ip(&format!("-n {} address add 192.0.2.22/24 dev wan0", net.b.underlay));
    let moved = Some("192.0.2.22:51821".parse().unwrap());
    let mut config_b = net.config_b();
    config_b.devices[0].peers[0].endpoint = Some((net.a.wan_address, PORT).into());
    config_b.devices[0].peers[0].keepalive_seconds = 1;
    b.ensure(&config_b);
    wait("it to be heard there", SESSION, || a.status().devices[0].peers[0].endpoint == moved);
    let age = a.status().devices[0].peers[0].handshake_age_seconds;
    for _ in 0..5 {
        a.ensure(&net.config_a());
    }
    let peer = a.status().devices[0].peers[0].clone();
    assert_eq!(peer.endpoint, moved, "the declaration did not change");
    assert!(peer.handshake_age_seconds >= age, "the session is the same: {peer:?}, before {age:?}");
}

fn peers_change() {
    let net = Net::new();
    let (a, _b) = kernels(&net);
    let traffic = Traffic::start(&net.a, &net.b);
    let mut config = net.config_a();
    config.devices[0].peers.push(PeerConfig {
        public_key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".into(),
        endpoint: Some("192.0.2.77:51821".parse().unwrap()),
        allowed_ips: vec!["10.100.128.77/32".parse().unwrap()],
        keepalive_seconds: 0,
    });
    let status = a.ensure(&config);
    assert_eq!(status.devices[0].peers.len(), 2);
    assert!(status.devices[0].peers.iter().any(|peer| peer.keepalive_seconds == 0), "greeted and left in peace");
    config.devices[0].peers.pop();
    config.devices[0].peers[0].keepalive_seconds = 9;
    config.devices[0].peers[0].allowed_ips.push("10.100.0.2/32".parse().unwrap());
    let status = a.ensure(&config);
    let [peer] = &status.devices[0].peers[..] else { panic!("{status:?}") };
    assert_eq!((peer.keepalive_seconds, peer.allowed_ips.len()), (9, 2));
    assert!(peer.handshake_age_seconds.is_some());
    assert_eq!(traffic.finish().lost, 0);
}

fn remembered() {
    let net = Net::new();
    let (_a, b) = kernels(&net);
    assert!(b.has_session(), "asked for its status it remembers the endpoint");
    ip(&format!("-n {} link del {LINK}", net.b.netns));
    assert!(b.status().devices[0].problem.is_some());
    b.make_link();
    b.ensure(&net.config_b());
    // The far end's keepalive would wake it up only after its session is found dead, 15 s later.
    wait("a session it began itself", Duration::from_secs(10), || b.has_session());
    assert_eq!(b.status().devices[0].peers[0].keepalive_seconds, 0);
}

fn removed() {
    let net = Net::new();
    let (a, _b) = kernels(&net);
    a.backend.remove(1).unwrap();
    assert_eq!(a.backend.status(1).unwrap(), None);
    let shown = net::output(&format!("-n {} -details link show {LINK}", net.a.netns));
    assert!(shown.contains("wireguard"), "the interface stays: {shown}");
    a.backend.remove(1).unwrap();
    a.ensure(&net.config_a());
    wait("a session", SESSION, || a.has_session());
}

fn missing() {
    let net = Net::new();
    let kernel = Kernel::new(&net.a);
    ip(&format!("-n {} link del {LINK}", net.a.netns));
    let status = kernel.backend.ensure(&net.config_a()).unwrap();
    assert!(status.devices[0].problem.as_ref().is_some_and(|problem| problem.contains(LINK)), "{status:?}");
    assert!(!net::output(&format!("-n {} link show", net.a.netns)).contains(LINK));
}

fn rejected() {
    let net = Net::new();
    let (_a, b) = kernels(&net);
    ip(&format!("-n {} address add 10.100.128.99/32 dev {LINK}", net.a.netns));
    let before = b.status().rejected;
    let socket = net::visit(&net.a.netns, || std::net::UdpSocket::bind("10.100.128.99:0").unwrap());
    for _ in 0..7 {
        socket.send_to(b"not mine", (net.b.address, 7)).unwrap();
    }
    wait("all seven", SOON, || b.status().rejected == before + 7);
}
