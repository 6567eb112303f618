//! One WireGuard device: a TUN, a socket, and peers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use gotatun::packet::PacketBufPool;
use gotatun::tun::MtuWatcher;
use tokio::task::JoinSet;
use tokio::time::sleep;
use x25519_dalek::StaticSecret;

use crate::endpoints::Endpoints;
use crate::netns::{Netns, NetnsId};
use crate::peer;
use crate::peers::Peers;
use crate::tun::{Tun, TunReader, TunWriter};
use crate::underlay::{Inbox, Underlay};
use crate::{DeviceConfig, PeerConfig, PeerStatus};

/// How often WireGuard's timers are looked at, as in gotatun's own device.
const TIMERS: Duration = Duration::from_millis(250);
/// Packet buffers kept for reuse.
const BUFFERS: usize = 256;
/// Bytes of a buffer: the largest tunnel's packet (8,920 over a WAN of 9,000) with WireGuard's padding and 32 bytes.
const BUFFER: usize = 9_216;
pub(crate) type Pool = PacketBufPool<BUFFER>;
/// Packets decrypted before they are handed over: the first does not wait for hundreds behind it.
const AT_ONCE: usize = 64;
/// How long the socket rests after an error, which none is known to give.
const REST: Duration = Duration::from_millis(20);

/// Why a device does not carry packets, with what to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("namespace `{name}` cannot be opened")]
    Netns { name: String, source: io::Error },
    #[error("cannot attach to TUN `{link}`")]
    Tun { link: String, source: io::Error },
    #[error("cannot open UDP port {port} in namespace `{netns}`")]
    Underlay { netns: String, port: u16, source: io::Error },
}

impl DeviceError {
    /// Somebody else has the TUN or the port. A predecessor that was just killed gives them back within milliseconds.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            DeviceError::Tun { source, .. } | DeviceError::Underlay { source, .. } => {
                matches!(source.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse)
            }
            DeviceError::Netns { .. } => false,
        }
    }
}

/// A device that is up.
pub(crate) struct Device {
    config: DeviceConfig,
    tun: Tun,
    underlay: Arc<Underlay>,
    peers: Arc<Peers>,
    /// The two directions and the timers; they end with this.
    tasks: JoinSet<()>,
    /// Peers whose handshake is repeated in haste, by public key, and since when they could have answered.
    hasty: BTreeMap<String, Instant>,
}

/// What a device is opened with, beside its own configuration.
pub(crate) struct Setting<'a> {
    pub secret: &'a StaticSecret,
    pub endpoints: &'a Endpoints,
    /// Big packets pass the TUN in one piece.
    pub offload: bool,
    /// Counts what the device refuses.
    pub rejected: &'a Arc<AtomicU64>,
}

impl Device {
    /// Makes `device` what `config` says with the least disturbance: peers come, go and change with the others'
    /// sessions kept, a TUN that was made anew is attached to; only another namespace or port means a new device.
    ///
    /// # Errors
    /// What does not work yet. `device` is then left as far as it got; calling again continues.
    pub(crate) async fn ensure(
        device: &mut Option<Device>,
        config: &DeviceConfig,
        setting: &Setting<'_>,
    ) -> Result<(), DeviceError> {
        let mut serving = None;
        if let Some(mut current) = device.take() {
            // A namespace that is gone is not held on to by our sockets: it would never end.
            if current.serves(config, setting) {
                serving = Some(current);
            } else {
                tracing::info!(link = config.link, "device closed: its namespace, port or socket changed");
                current.close().await;
            }
        }
        let current = device.insert(match serving {
            Some(current) => current,
            None => Device::open(config, setting)?,
        });
        current.set_peers(&config.peers, setting.endpoints);
        let tun = &mut current.tun;
        open_netns(&config.netns)
            .and_then(|netns| tun.follow(&netns, &config.link).map_err(|source| tun_error(config, source)))?;
        Ok(())
    }

    /// Ends the device; its TUN stays.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// Greets peers without a session: new ones, and those with keepalive until they answer (WireGuard itself gives up
    /// after 90 s and then waits for a packet to send). A handshake is repeated in haste while the peer is new, and
    /// while it cannot even be sent for want of a route.
    pub(crate) async fn greet(&mut self) {
        let unsent = self.underlay.take_unreachable();
        let mut greetings = Vec::new();
        for peer in self.peers.all() {
            let (name, silent, endpoint) = (&peer.public_key, peer.is_silent(), peer.endpoint());
            if silent && endpoint.is_some_and(|to| unsent.contains(&to)) {
                // The time in which it may answer has not begun.
                if self.hasty.insert(name.clone(), Instant::now()).is_none() {
                    peer.hasten(true);
                }
            } else if self.hasty.get(name).is_some_and(|since| !silent || since.elapsed() > peer::HASTE) {
                self.hasty.remove(name);
                peer.hasten(false);
            }
            if silent && (peer.has_keepalive() || self.hasty.contains_key(name)) {
                greetings.extend(self.peers.greeting(&peer));
            }
        }
        self.underlay.send(&mut greetings).await;
    }

    /// The UDP port in use.
    pub(crate) fn listen_port(&self) -> u16 {
        self.underlay.port()
    }

    /// The peers as they are, in order of public key.
    pub(crate) fn peers(&self) -> Vec<PeerStatus> {
        self.peers.all().iter().map(|peer| peer.status()).collect()
    }

    /// Where each peer was last heard, or is to be sent to first.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, SocketAddr> {
        self.peers.all().iter().filter_map(|peer| Some((peer.public_key.clone(), peer.endpoint()?))).collect()
    }

    fn open(config: &DeviceConfig, setting: &Setting) -> Result<Device, DeviceError> {
        let DeviceConfig { netns, link, underlay_netns, listen_port, peers: _ } = config;
        open_netns(netns)?;
        let (tun, reader, writer) =
            Tun::attach(netns, link, setting.offload).map_err(|source| tun_error(config, source))?;
        let underlay = Underlay::open(underlay_netns, *listen_port).map_err(|source| DeviceError::Underlay {
            netns: underlay_netns.clone(),
            port: *listen_port,
            source,
        })?;
        let (underlay, peers) = (Arc::new(underlay), Arc::new(Peers::new(setting.secret, setting.rejected.clone())));
        let pool = Pool::new(BUFFERS);
        let mut tasks = JoinSet::new();
        tasks.spawn(outwards(reader, peers.clone(), underlay.clone(), tun.mtu(), pool.clone()));
        tasks.spawn(inwards(underlay.clone(), peers.clone(), writer, tun.mtu(), pool));
        tasks.spawn(on_time(peers.clone(), underlay.clone()));
        tracing::info!(link, port = listen_port, "device opened");
        let config = DeviceConfig { peers: Vec::new(), ..config.clone() };
        Ok(Device { config, tun, underlay, peers, tasks, hasty: BTreeMap::new() })
    }

    /// Whether this device, with other peers, can be what `config` says.
    fn serves(&mut self, config: &DeviceConfig, setting: &Setting) -> bool {
        let is_still =
            |name: &str, id: NetnsId| Netns::open(name).and_then(|netns| netns.id()).is_ok_and(|now| now == id);
        self.config.listen_port == config.listen_port
            && self.config.netns == config.netns
            && self.config.underlay_netns == config.underlay_netns
            && self.tun.offload() == setting.offload
            && is_still(&config.netns, self.tun.netns())
            && is_still(&config.underlay_netns, self.underlay.netns())
            // Tasks never end by themselves: it would be deaf for good.
            && self.tasks.try_join_next().is_none()
    }

    /// Adds, changes and removes peers; one that is unchanged is not touched.
    fn set_peers(&mut self, wanted: &[PeerConfig], endpoints: &Endpoints) {
        if self.config.peers == wanted {
            return;
        }
        let before: BTreeMap<&str, &PeerConfig> = self.config.peers.iter().map(|p| (&*p.public_key, p)).collect();
        let after: BTreeMap<&str, &PeerConfig> = wanted.iter().map(|p| (&*p.public_key, p)).collect();
        let link = &self.config.link;
        self.peers.change(&before, &after, |public_key| endpoints.get(link, public_key));
        tracing::info!(link, from = before.len(), to = after.len(), "peers changed");
        self.hasty.retain(|public_key, _| after.contains_key(&**public_key));
        let added = after.keys().filter(|key| !before.contains_key(*key));
        self.hasty.extend(added.map(|key| ((*key).to_owned(), Instant::now())));
        self.config.peers = wanted.to_vec();
    }
}

/// From the TUN to the WAN.
async fn outwards(mut tun: TunReader, peers: Arc<Peers>, underlay: Arc<Underlay>, mut mtu: MtuWatcher, pool: Pool) {
    let (mut packets, mut datagrams) = (Vec::new(), Vec::new());
    loop {
        tun.read(&pool, &mut packets).await;
        datagrams.extend(packets.drain(..).filter_map(|packet| peers.seal(packet, &mut mtu)));
        underlay.send(&mut datagrams).await;
    }
}

/// From the WAN to the TUN.
async fn inwards(underlay: Arc<Underlay>, peers: Arc<Peers>, mut tun: TunWriter, mut mtu: MtuWatcher, pool: Pool) {
    let (mut inbox, mut datagrams) = (Inbox::new(), Vec::new());
    let (mut packets, mut answers) = (Vec::new(), Vec::new());
    loop {
        if let Err(error) = underlay.receive(&mut inbox, &pool, &mut datagrams).await {
            tracing::warn!(%error, "the socket cannot be read");
            sleep(REST).await;
        }
        let mut received = datagrams.drain(..);
        while received.len() > 0 {
            for datagram in received.by_ref().take(AT_ONCE) {
                peers.open(datagram, &mut mtu, &mut packets, &mut answers);
            }
            underlay.send(&mut answers).await;
            tun.write(&mut packets).await;
        }
    }
}

/// Handshakes and keepalives when they are due.
async fn on_time(peers: Arc<Peers>, underlay: Arc<Underlay>) {
    loop {
        underlay.send(&mut peers.due()).await;
        sleep(TIMERS).await;
    }
}

fn open_netns(name: &str) -> Result<Netns, DeviceError> {
    Netns::open(name).map_err(|source| DeviceError::Netns { name: name.to_owned(), source })
}

fn tun_error(config: &DeviceConfig, source: io::Error) -> DeviceError {
    DeviceError::Tun { link: config.link.clone(), source }
}
