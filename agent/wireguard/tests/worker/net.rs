//! Two sides on one wire, each with its tunnel in one namespace and its WAN in another. Needs root and iproute2.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_wireguard::{
    DeviceConfig, PeerConfig, PeerStatus, UserspaceBackend, WireguardBackend, WorkerConfig, WorkerStatus,
    ensure_private_key,
};

pub const PORT: u16 = 51_821;
pub const LINK: &str = "psw1";

/// What one side has; the namespaces and the worker go with it.
pub struct Side {
    /// Where the TUN is.
    pub netns: String,
    /// Where the WAN is: `wan0`, with `wan_address`.
    pub underlay: String,
    pub address: Ipv4Addr,
    pub wan_address: Ipv4Addr,
    pub wan_address6: Ipv6Addr,
    pub public_key: String,
    pub backend: UserspaceBackend,
    /// Every worker that was ever seen.
    workers: Mutex<BTreeSet<u32>>,
    folder: tempfile::TempDir,
}

/// Side `a` has `b` for a peer with endpoint and keepalive, as a site has its anchor; `b` only ever answers.
pub struct Net {
    pub a: Side,
    pub b: Side,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Net {
    pub fn new() -> Net {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let side = |letter: &str, last: u8| Side::new(&format!("wgt-{}-{number}{letter}", std::process::id()), last);
        let net = Net { a: side("a", 1), b: side("b", 2) };
        ip(&format!("link add wan0 netns {} type veth peer name wan0 netns {}", net.a.underlay, net.b.underlay));
        for side in [&net.a, &net.b] {
            ip(&format!("-n {} address add {}/24 dev wan0", side.underlay, side.wan_address));
            ip(&format!("-n {} address add {}/64 dev wan0 nodad", side.underlay, side.wan_address6));
            ip(&format!("-n {} link set wan0 up", side.underlay));
            side.make_tun();
        }
        net
    }

    /// Both workers up and a session between them.
    pub fn connected() -> Net {
        let net = Net::new();
        net.connect((net.b.wan_address, PORT));
        net
    }

    /// Starts both workers, with side b reached at `endpoint`.
    pub fn connect(&self, endpoint: impl Into<SocketAddr>) {
        self.b.ensure(&self.config_b());
        self.a.ensure(&self.config_a_to(endpoint));
        wait("a session", Duration::from_secs(5), || self.a.peer().handshake_age_seconds.is_some());
        wait("b to know a's endpoint", Duration::from_secs(5), || self.b.peer().endpoint.is_some());
    }

    pub fn config_a(&self) -> WorkerConfig {
        self.config_a_to((self.b.wan_address, PORT))
    }

    pub fn config_a_to(&self, endpoint: impl Into<SocketAddr>) -> WorkerConfig {
        let endpoint = endpoint.into();
        self.a.config(vec![PeerConfig { endpoint: Some(endpoint), keepalive_seconds: 5, ..self.b.as_peer() }])
    }

    pub fn config_b(&self) -> WorkerConfig {
        self.b.config(vec![self.a.as_peer()])
    }
}

impl Side {
    fn new(netns: &str, last: u8) -> Side {
        let folder = tempfile::tempdir().unwrap();
        let underlay = format!("{netns}w");
        let public_key = ensure_private_key(&folder.path().join("key")).unwrap();
        let backend = UserspaceBackend {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_pathsteer-wireguard")),
            run_dir: folder.path().join("run"),
        };
        let side = Side {
            netns: netns.to_owned(),
            underlay,
            address: Ipv4Addr::new(10, 100, 128, last),
            wan_address: Ipv4Addr::new(192, 0, 2, last),
            wan_address6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()),
            public_key,
            backend,
            workers: Mutex::default(),
            folder,
        };
        for name in [&side.netns, &side.underlay] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        side
    }

    pub fn make_tun(&self) {
        let netns = &self.netns;
        ip(&format!("-n {netns} tuntap add dev {LINK} mode tun vnet_hdr"));
        ip(&format!("-n {netns} link set {LINK} mtu 1420 up"));
        ip(&format!("-n {netns} address add {}/24 dev {LINK}", self.address));
    }

    /// This side as the other one's peer: no endpoint, no keepalive.
    pub fn as_peer(&self) -> PeerConfig {
        PeerConfig {
            public_key: self.public_key.clone(),
            endpoint: None,
            allowed_ips: vec![self.address.into()],
            keepalive_seconds: 0,
        }
    }

    /// Its address on the WAN, of either family.
    pub fn wan(&self, is_ipv6: bool) -> IpAddr {
        if is_ipv6 { self.wan_address6.into() } else { self.wan_address.into() }
    }

    pub fn key_path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    pub fn config(&self, peers: Vec<PeerConfig>) -> WorkerConfig {
        WorkerConfig {
            slot: 1,
            private_key_path: self.key_path(),
            state_path: self.folder.path().join("endpoints"),
            socket_path: self.backend.socket_path(1),
            offload: true,
            devices: vec![DeviceConfig {
                netns: self.netns.clone(),
                link: LINK.into(),
                underlay_netns: self.underlay.clone(),
                listen_port: PORT,
                peers,
            }],
        }
    }

    /// Applies `config`, and expects all of it to work.
    pub fn ensure(&self, config: &WorkerConfig) -> WorkerStatus {
        let status = self.backend.ensure(config).unwrap();
        self.workers.lock().unwrap().insert(status.pid);
        assert_eq!(status.devices.iter().find_map(|device| device.problem.clone()), None);
        assert_eq!(status.config_digest, config.digest());
        status
    }

    pub fn status(&self) -> WorkerStatus {
        self.backend.status(1).unwrap().expect("the worker runs")
    }

    /// The first device's first peer.
    pub fn peer(&self) -> PeerStatus {
        self.status().devices[0].peers[0].clone()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.status().pid.cast_signed())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Err(error) = self.backend.remove(1) {
            eprintln!("worker of {} not removed: {error}", self.netns);
        }
        // Those it could not find any more, by the folder in their command line.
        let folder = self.folder.path().to_str().unwrap();
        for pid in self.workers.get_mut().unwrap().iter() {
            if std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(folder)) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        }
        for name in [&self.netns, &self.underlay] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Runs `inside` in a namespace, on a thread of its own.
pub fn visit<T: Send>(netns: &str, inside: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(format!("/run/netns/{netns}")).unwrap();
    std::thread::scope(|scope| {
        let visitor = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            inside()
        });
        visitor.join().unwrap()
    })
}

pub fn kill_9(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
}

/// Runs `ip` with these words, which must succeed.
pub fn ip(words: &str) {
    output(words);
}

/// What `ip` prints.
pub fn output(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `condition` holds.
pub fn wait(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
