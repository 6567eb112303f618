//! One WireGuard device: a TUN, a socket, and peers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gotatun::device::configure::PeerStats;
use gotatun::device::{self, DeviceBuilder};
use tokio::time::timeout;
use x25519_dalek::StaticSecret;

use crate::endpoints::Endpoints;
use crate::netns::{Netns, NetnsId};
use crate::peer;
use crate::tun::{Tun, TunReader, TunWriter};
use crate::underlay::{Underlay, Unreachable};
use crate::{DeviceConfig, PeerConfig, PeerStatus};

/// How long to stay with a greeting that has been sent. The answer is taken whenever it comes; this only bounds how
/// long other requests wait.
const GREETING: Duration = Duration::from_millis(10);

/// Why a device does not carry packets, with what to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("namespace `{name}` cannot be opened")]
    Netns { name: String, source: io::Error },
    #[error("cannot attach to TUN `{link}`")]
    Tun { link: String, source: io::Error },
    #[error("cannot open UDP port {port} in namespace `{netns}`")]
    Underlay { netns: String, port: u16, source: io::Error },
    #[error("WireGuard")]
    Wireguard(#[from] device::Error),
}

impl DeviceError {
    /// Somebody else has the TUN or the port. A predecessor that was just killed gives them back within milliseconds.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            DeviceError::Tun { source, .. } | DeviceError::Underlay { source, .. } => {
                matches!(source.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse)
            }
            DeviceError::Netns { .. } | DeviceError::Wireguard(_) => false,
        }
    }
}

type Wireguard = device::Device<(Underlay, TunWriter, TunReader)>;

/// A device that is up.
pub(crate) struct Device {
    config: DeviceConfig,
    underlay: NetnsId,
    unreachable: Unreachable,
    tun: Tun,
    wireguard: Wireguard,
    /// Peers whose handshake is repeated in haste, by public key, and since when they could have answered.
    hasty: BTreeMap<String, Instant>,
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
        secret: &StaticSecret,
        endpoints: &Endpoints,
    ) -> Result<(), DeviceError> {
        let mut serving = None;
        if let Some(mut current) = device.take() {
            // A namespace that is gone is not held on to by our sockets: it would never end.
            if current.serves(config).await {
                serving = Some(current);
            } else {
                tracing::info!(link = config.link, "device closed: its namespace, port or socket changed");
                current.wireguard.stop().await;
            }
        }
        let current = device.insert(match serving {
            Some(current) => current,
            None => Device::open(config, secret).await?,
        });
        current.set_peers(&config.peers, endpoints).await?;
        let tun = &mut current.tun;
        open_netns(&config.netns)
            .and_then(|netns| tun.follow(&netns, &config.link).map_err(|source| tun_error(config, source)))?;
        Ok(())
    }

    /// Ends the device; its TUN stays.
    pub(crate) async fn close(self) {
        self.wireguard.stop().await;
    }

    /// Greets peers without a session: new ones, and those with keepalive until they answer (WireGuard itself gives up
    /// after 90 s and then waits for a packet to send). A handshake is repeated in haste while the peer is new, and
    /// while it cannot even be sent for want of a route.
    pub(crate) async fn greet(&mut self) -> Result<(), DeviceError> {
        let unsent = self.unreachable.take();
        let (mut pace, mut greeted) = (Vec::new(), Vec::new());
        for PeerStats { peer, stats, .. } in self.wireguard.peers().await {
            let (key, name) = (peer.public_key, peer::name(&peer.public_key));
            let silent = stats.last_handshake.is_none();
            if silent && peer.endpoint.is_some_and(|to| unsent.contains(&to)) {
                // The time in which it may answer has not begun.
                if self.hasty.insert(name.clone(), Instant::now()).is_none() {
                    pace.push((key, Some(peer::in_haste())));
                }
            } else if self.hasty.get(&name).is_some_and(|since| !silent || since.elapsed() > peer::HASTE) {
                self.hasty.remove(&name);
                pace.push((key, None));
            }
            if silent && peer.endpoint.is_some() && (peer.keepalive.is_some() || self.hasty.contains_key(&name)) {
                greeted.push(key);
            }
        }
        if !pace.is_empty() {
            self.wireguard
                .write(async |wireguard| {
                    for (key, timers) in pace {
                        wireguard.modify_peer(&key, |peer| peer.dangerously_set_timer_params(timers)).await;
                    }
                })
                .await?;
        }
        // Most of these end with the time: the answer comes later, or a handshake is under way already.
        join_all(greeted.iter().map(|key| timeout(GREETING, self.wireguard.force_handshake(key)))).await;
        Ok(())
    }

    /// The UDP port in use.
    pub(crate) async fn listen_port(&self) -> u16 {
        self.wireguard.read(async |wireguard| wireguard.listen_port()).await
    }

    /// The peers as they are, in order of public key.
    pub(crate) async fn peers(&self) -> Vec<PeerStatus> {
        let mut peers: Vec<PeerStatus> = self.wireguard.peers().await.into_iter().map(peer::status).collect();
        peers.sort_by(|a, b| a.public_key.cmp(&b.public_key));
        peers
    }

    /// Where each peer was last heard, or is to be sent to first.
    pub(crate) async fn endpoints(&self) -> BTreeMap<String, SocketAddr> {
        let peers = self.wireguard.peers().await.into_iter();
        peers.filter_map(|peer| Some((peer::name(&peer.peer.public_key), peer.peer.endpoint?))).collect()
    }

    async fn open(config: &DeviceConfig, secret: &StaticSecret) -> Result<Device, DeviceError> {
        let DeviceConfig { netns, link, underlay_netns, listen_port, peers: _ } = config;
        open_netns(netns)?;
        let (tun, reader, writer) = Tun::attach(netns, link).map_err(|source| tun_error(config, source))?;
        let underlay = Underlay::open(underlay_netns, *listen_port).map_err(|source| DeviceError::Underlay {
            netns: underlay_netns.clone(),
            port: *listen_port,
            source,
        })?;
        let (underlay_netns, unreachable) = (underlay.netns(), underlay.unreachable());
        let wireguard = DeviceBuilder::new()
            .with_udp(underlay)
            .with_ip_pair(writer, reader)
            .with_listen_port(*listen_port)
            .build()
            .await?;
        // Built without peers, a device only begins to work when its key is set.
        wireguard.set_private_key(secret.clone()).await?;
        tracing::info!(link, port = listen_port, "device opened");
        let config = DeviceConfig { peers: Vec::new(), ..config.clone() };
        Ok(Device { config, underlay: underlay_netns, unreachable, tun, wireguard, hasty: BTreeMap::new() })
    }

    /// Whether this device, with other peers, can be what `config` says.
    async fn serves(&mut self, config: &DeviceConfig) -> bool {
        let is_still =
            |name: &str, id: NetnsId| Netns::open(name).and_then(|netns| netns.id()).is_ok_and(|now| now == id);
        self.config.listen_port == config.listen_port
            && self.config.netns == config.netns
            && self.config.underlay_netns == config.underlay_netns
            && is_still(&config.netns, self.tun.netns())
            && is_still(&config.underlay_netns, self.underlay)
            // Its tasks have ended with an error: it would be deaf for good.
            && timeout(Duration::ZERO, self.wireguard.wait()).await.is_err()
    }

    /// Adds, changes and removes peers; one that is unchanged is not touched. An endpoint that is declared is set when
    /// its declaration changes, so that a peer which moved is not sent back.
    async fn set_peers(&mut self, wanted: &[PeerConfig], endpoints: &Endpoints) -> Result<(), DeviceError> {
        if self.config.peers == wanted {
            return Ok(());
        }
        let before: BTreeMap<&str, &PeerConfig> = self.config.peers.iter().map(|p| (&*p.public_key, p)).collect();
        let after: BTreeMap<&str, &PeerConfig> = wanted.iter().map(|p| (&*p.public_key, p)).collect();
        let link = &self.config.link;
        self.wireguard
            .write(async |wireguard| {
                for public_key in before.keys().filter(|key| !after.contains_key(*key)) {
                    wireguard.remove_peer(&peer::key(public_key)).await;
                }
                for (public_key, peer) in &after {
                    match before.get(public_key) {
                        Some(known) if known == peer => {}
                        Some(known) => {
                            wireguard
                                .modify_peer(&peer::key(public_key), |change| {
                                    change.clear_allowed_ips();
                                    change.add_allowed_ips(peer.allowed_ips.iter().map(peer::network));
                                    change.set_keepalive(peer::keepalive(peer));
                                    if peer.endpoint.is_some() && peer.endpoint != known.endpoint {
                                        change.set_endpoint(peer.endpoint);
                                    }
                                })
                                .await;
                        }
                        None => {
                            wireguard.add_peer(peer::new(peer, endpoints.get(link, public_key)));
                        }
                    }
                }
            })
            .await?;
        tracing::info!(link, from = before.len(), to = after.len(), "peers changed");
        self.hasty.retain(|public_key, _| after.contains_key(&**public_key));
        let added = after.keys().filter(|key| !before.contains_key(*key));
        self.hasty.extend(added.map(|key| ((*key).to_owned(), Instant::now())));
        self.config.peers = wanted.to_vec();
        Ok(())
    }
}

fn open_netns(name: &str) -> Result<Netns, DeviceError> {
    Netns::open(name).map_err(|source| DeviceError::Netns { name: name.to_owned(), source })
}

fn tun_error(config: &DeviceConfig, source: io::Error) -> DeviceError {
    DeviceError::Tun { link: config.link.clone(), source }
}
