//! A peer as it is declared, as gotatun takes it, and as it is reported.

use std::net::SocketAddr;
use std::time::Duration;

use gotatun::device::Peer;
use gotatun::device::configure::PeerStats;
use gotatun::noise::TimerParams;
use ipnet::Ipv4Net;
use ipnetwork::IpNetwork;
use x25519_dalek::PublicKey;

use crate::key;
use crate::{PeerConfig, PeerStatus};

/// How long a new peer's handshake is repeated in haste. At first the far end often does not know us yet or is just
/// starting too; WireGuard's own 5 s would be most of the time a new site takes.
pub(crate) const HASTE: Duration = Duration::from_secs(10);

/// Timers of a peer in haste: as WireGuard's own, jitter included, but for the interval between handshakes.
pub(crate) fn in_haste() -> TimerParams {
    TimerParams { rekey_timeout: Duration::from_millis(500)..=Duration::from_millis(833), ..TimerParams::default() }
}

/// The peer to add, in haste, with what is remembered of it.
pub(crate) fn new(config: &PeerConfig, remembered: Option<SocketAddr>) -> Peer {
    let mut peer = Peer::new(key(&config.public_key));
    peer.endpoint = config.endpoint.or(remembered);
    peer.allowed_ips = config.allowed_ips.iter().map(network).collect();
    peer.keepalive = keepalive(config);
    peer.danger_timer_params = Some(in_haste());
    peer
}

/// A configuration is checked before it gets here.
pub(crate) fn key(base64: &str) -> PublicKey {
    key::parse_public(base64).expect("public keys of a checked configuration parse")
}

/// What a peer is called in configurations, files and answers.
pub(crate) fn name(public_key: &PublicKey) -> String {
    key::to_base64(*public_key.as_bytes())
}

pub(crate) fn keepalive(config: &PeerConfig) -> Option<u16> {
    (config.keepalive_seconds > 0).then_some(config.keepalive_seconds)
}

pub(crate) fn network(network: &Ipv4Net) -> IpNetwork {
    IpNetwork::new(network.network().into(), network.prefix_len()).expect("an Ipv4Net has a valid prefix length")
}

pub(crate) fn status(peer: PeerStats) -> PeerStatus {
    let PeerStats { peer, stats, .. } = peer;
    let mut allowed_ips: Vec<Ipv4Net> = peer
        .allowed_ips
        .iter()
        .filter_map(|network| match network {
            IpNetwork::V4(network) => Ipv4Net::new(network.network(), network.prefix()).ok(),
            // None is ever configured.
            IpNetwork::V6(_) => None,
        })
        .collect();
    allowed_ips.sort();
    PeerStatus {
        public_key: name(&peer.public_key),
        endpoint: peer.endpoint,
        handshake_age_seconds: stats.last_handshake.map(|age| age.as_secs()),
        rx_bytes: stats.rx_bytes as u64,
        tx_bytes: stats.tx_bytes as u64,
        allowed_ips,
        keepalive_seconds: peer.keepalive.unwrap_or(0),
    }
}
