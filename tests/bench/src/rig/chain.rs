//! The same way without the product: client - edge - uplink - anchor - server, the hops that shimmed packets take too.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;
use pathsteer_wireguard::{
    DeviceConfig, PeerConfig, UserspaceBackend, WireguardBackend, WorkerConfig, ensure_private_key,
};

use super::peer::{Keys, Wg};
use super::{Ends, cable};
use crate::node::{Folders, leak};

/// MTU of tunnels over a WAN of 1,500 bytes, as the compiler declares it.
const TUNNEL_MTU: u32 = 1_420;
/// UDP port of both ends.
const PORT: u16 = 51_820;
/// Addresses of the WAN below a tunnel.
const WAN: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// What lies between uplink and anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tunnel {
    /// A veth.
    Veth,
    /// A veth behind an edge that cuts big sends up, as it does before a shim that takes one packet at a time.
    VethSegmented,
    /// Two veths, and nft copies everything to the second one. Nobody drops second copies.
    VethCopied,
    /// The product's own worker at both ends.
    Worker {
        /// Whether the TUN takes big TCP and UDP sends in one piece.
        segmentation: bool,
    },
    /// Another userspace WireGuard at both ends: a program that is started as `PROGRAM … INTERFACE` and configured with
    /// `wg`.
    Other { program: PathBuf, arguments: Vec<String> },
}

/// A chain.
pub struct Chain {
    pub ends: Ends,
    /// Processes that encrypt.
    pub workers: Vec<u32>,
    edge: Host,
    /// Where packets enter the tunnel.
    pub uplink: Host,
    anchor: Host,
    /// Killed with the chain.
    _daemons: Vec<Daemon>,
}

impl Chain {
    /// A chain called `name`.
    ///
    /// # Errors
    /// When a program is missing, or nothing passes in the end.
    pub fn build(name: &str, tunnel: &Tunnel, folders: &Folders) -> Result<Chain> {
        let router = |letter: &str| {
            let host = Host::new(leak(&format!("{name}-{letter}")))?;
            host.publish()?;
            host.forward()?;
            Ok::<_, anyhow::Error>(host)
        };
        let (edge, uplink, anchor) = (router("e")?, router("u")?, router("a")?);
        let (workers, _daemons) = (Vec::new(), Vec::new());
        let mut chain = Chain { ends: Ends::new(name)?, workers, edge, uplink, anchor, _daemons };
        chain.lay()?;
        match tunnel {
            Tunnel::Veth => chain.wire(1, &chain.uplink)?,
            Tunnel::VethSegmented => {
                chain.wire(1, &chain.uplink)?;
                chain.edge.ip("link set up1 gso_max_segs 1")?;
            }
            Tunnel::VethCopied => {
                chain.wire(1, &chain.uplink)?;
                chain.copy(&router("u2")?)?;
            }
            Tunnel::Worker { segmentation } => chain.start_workers(*segmentation, folders)?,
            Tunnel::Other { program, arguments } => chain.start_others(program, arguments, folders)?,
        }
        chain.route()?;
        chain.ends.await_passage()?;
        Ok(chain)
    }

    /// Everything but the tunnel.
    fn lay(&self) -> Result<()> {
        let Chain { ends, edge, uplink, anchor, .. } = self;
        ends.connect((edge, "lan0"), (anchor, "inet0"))?;
        cable(edge, (edge, "up1"), (uplink, "in"))?;
        // the client need not find out that the tunnel is smaller
        for end in [&ends.client, &ends.server] {
            end.ip(&format!("link set eth0 mtu {TUNNEL_MTU}"))?;
        }
        edge.ip(
            "address add 172.16.7.1/24 dev lan0\nlink set lan0 up\naddress add 10.1.1.1/30 dev up1\nlink set up1 up",
        )?;
        uplink.ip("address add 10.1.1.2/30 dev in\nlink set in up")?;
        anchor.ip("address add 198.51.100.1/24 dev inet0\nlink set inet0 up")
    }

    /// A veth instead of a tunnel.
    fn wire(&self, number: u8, uplink: &Host) -> Result<()> {
        cable(uplink, (uplink, "t1"), (&self.anchor, &format!("t{number}")))?;
        uplink.ip(&format!("address add 10.2.{number}.1/30 dev t1\nlink set t1 mtu {TUNNEL_MTU} up"))?;
        self.anchor.ip(&format!("address add 10.2.{number}.2/30 dev t{number}\nlink set t{number} mtu {TUNNEL_MTU} up"))
    }

    /// A second way by `second`, and a copy of everything on it, both ways.
    fn copy(&self, second: &Host) -> Result<()> {
        let Chain { edge, anchor, .. } = self;
        cable(edge, (edge, "up2"), (second, "in"))?;
        edge.ip("address add 10.1.2.1/30 dev up2\nlink set up2 up")?;
        second.ip("address add 10.1.2.2/30 dev in\nlink set in up")?;
        self.wire(2, second)?;
        second.ip("route add 198.51.100.0/24 via 10.2.2.2\nroute add 172.16.7.0/24 via 10.1.2.1")?;
        let table = |first: &str, gateway: &str, second: &str| {
            format!(
                "table ip copy {{ chain post {{ type filter hook postrouting priority 300;\n\
                 oifname \"{first}\" dup to {gateway} device \"{second}\"\n}}\n}}"
            )
        };
        edge.nft(&table("up1", "10.1.2.2", "up2"))?;
        anchor.nft(&table("t1", "10.2.2.1", "t2"))
    }

    fn route(&self) -> Result<()> {
        self.edge.ip("route add 198.51.100.0/24 via 10.1.1.2")?;
        self.uplink.ip("route add 198.51.100.0/24 via 10.2.1.2\nroute add 172.16.7.0/24 via 10.1.1.1")?;
        self.anchor.ip("route add 172.16.7.0/24 via 10.2.1.1")
    }

    /// The WAN below a tunnel.
    fn lay_underlay(&self) -> Result<()> {
        cable(&self.uplink, (&self.uplink, "wan"), (&self.anchor, "wan"))?;
        for (host, address) in [&self.uplink, &self.anchor].into_iter().zip(WAN) {
            host.ip(&format!("address add {address}/24 dev wan\nlink set wan up"))?;
        }
        Ok(())
    }

    fn start_workers(&mut self, segmentation: bool, folders: &Folders) -> Result<()> {
        self.lay_underlay()?;
        let mut sides = Vec::new();
        for host in [&self.uplink, &self.anchor] {
            let run_dir = PathBuf::from("/run/lab").join(host.name);
            std::fs::create_dir_all(&run_dir)?;
            let key = run_dir.join("key");
            let public_key = ensure_private_key(&key)?;
            sides.push((host, UserspaceBackend { binary: folders.agent(), run_dir }, key, public_key));
        }
        for (index, (host, backend, key, _)) in sides.iter().enumerate() {
            host.ip(&format!(
                "tuntap add dev t1 mode tun vnet_hdr\naddress add 10.2.1.{}/30 dev t1\nlink set t1 mtu {TUNNEL_MTU} up",
                index + 1
            ))?;
            let config = WorkerConfig {
                slot: 1,
                private_key_path: key.clone(),
                state_path: backend.run_dir.join("endpoints"),
                socket_path: backend.socket_path(1),
                offload: segmentation,
                devices: vec![DeviceConfig {
                    netns: host.name.to_owned(),
                    link: "t1".to_owned(),
                    underlay_netns: host.name.to_owned(),
                    listen_port: PORT,
                    peers: vec![PeerConfig {
                        public_key: sides[1 - index].3.clone(),
                        endpoint: Some(format!("{}:{PORT}", WAN[1 - index]).parse()?),
                        allowed_ips: vec!["0.0.0.0/0".parse()?],
                        keepalive_seconds: 5,
                    }],
                }],
            };
            let status = backend.ensure(&config)?;
            let problem = status.devices.iter().find_map(|device| device.problem.clone());
            ensure!(problem.is_none(), "{}: {problem:?}", host.name);
            self.workers.push(status.pid);
        }
        Ok(())
    }

    fn start_others(&mut self, program: &std::path::Path, arguments: &[String], folders: &Folders) -> Result<()> {
        self.lay_underlay()?;
        let keys = [Keys::new()?, Keys::new()?];
        for (index, host) in [&self.uplink, &self.anchor].into_iter().enumerate() {
            // control sockets are files named after the interface, whatever its namespace
            let link = format!("{}{index}", self.ends.client.name.replace('-', ""));
            let recipe = Recipe {
                name: host.name.to_owned(),
                program: program.into(),
                arguments: [arguments, std::slice::from_ref(&link)].concat(),
            };
            let daemon = Daemon::start(host, recipe, &folders.logs)?;
            self.workers.push(daemon.pid());
            self._daemons.push(daemon);
            let wg = Wg { host, link: &link };
            wg.await_program()?;
            wg.configure(&keys[index], &keys[1 - index], PORT, &format!("{}:{PORT}", WAN[1 - index]))?;
            host.ip(&format!("address add 10.2.1.{}/30 dev {link}\nlink set {link} mtu {TUNNEL_MTU} up", index + 1))?;
        }
        Ok(())
    }
}
