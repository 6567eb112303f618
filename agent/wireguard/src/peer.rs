//! A peer: its sessions and where it is.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gotatun::noise::{TimerParams, Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use ipnet::Ipv4Net;
use x25519_dalek::PublicKey;

use crate::key;
use crate::{PeerConfig, PeerStatus};

/// How long a new peer's handshake is repeated in haste. At first the far end often does not know us yet or is just
/// starting too; WireGuard's own 5 s would be most of the time a new site takes.
pub(crate) const HASTE: Duration = Duration::from_secs(10);

/// Timers of a peer in haste: as WireGuard's own, jitter included, but for the interval between handshakes.
fn in_haste() -> TimerParams {
    TimerParams { rekey_timeout: Duration::from_millis(500)..=Duration::from_millis(833), ..TimerParams::default() }
}

/// A peer of a device. Whoever needs it holds it for one packet at most.
pub(crate) struct Peer {
    /// Base64, as it is called in configurations, files and answers.
    pub(crate) public_key: String,
    state: Mutex<State>,
}

struct State {
    tunnel: Tunn,
    endpoint: Option<SocketAddr>,
    /// Where it was sent to until another endpoint was declared. It goes on sending from there until it hears from us:
    /// that moves it nowhere.
    left: Option<SocketAddr>,
    /// Sorted.
    allowed_ips: Vec<Ipv4Net>,
}

/// What became of a message from the peer.
pub(crate) enum Received {
    /// Nothing to pass on.
    Done,
    /// Messages for the peer: an answer, and the packets that waited for a session.
    Messages(Vec<WgKind>),
    /// A decrypted packet; empty for a keepalive.
    Packet(Packet),
    /// It is not from the peer, or came before.
    Refused,
}

impl State {
    /// The peer was heard from `endpoint`.
    fn follow(&mut self, endpoint: SocketAddr) {
        if self.left != Some(endpoint) {
            self.endpoint = Some(endpoint);
        }
    }
}

impl Peer {
    /// A peer in haste that `tunnel` belongs to, with what is remembered of it.
    pub(crate) fn new(config: &PeerConfig, mut tunnel: Tunn, remembered: Option<SocketAddr>) -> Peer {
        tunnel.dangerously_set_timer_params(in_haste());
        let endpoint = config.endpoint.or(remembered);
        let state = State { tunnel, endpoint, left: None, allowed_ips: sorted(&config.allowed_ips) };
        Peer { public_key: config.public_key.clone(), state: Mutex::new(state) }
    }

    /// Makes of the peer what `config` says. An endpoint that is declared is set when its declaration changes, so that
    /// a peer which moved is not sent back.
    pub(crate) fn change(&self, from: &PeerConfig, config: &PeerConfig) {
        let mut state = self.state();
        state.allowed_ips = sorted(&config.allowed_ips);
        if from.keepalive_seconds != config.keepalive_seconds {
            state.tunnel.set_persistent_keepalive(keepalive(config));
        }
        if from.endpoint != config.endpoint && config.endpoint.is_some() {
            state.left =
                std::mem::replace(&mut state.endpoint, config.endpoint).filter(|left| config.endpoint != Some(*left));
        }
    }

    /// The message that carries `packet`, or the handshake it waits for, and where to send it; none if there is
    /// nothing to send yet.
    pub(crate) fn seal(&self, packet: Packet, mtu: &mut MtuWatcher) -> Option<(WgKind, SocketAddr)> {
        let mut state = self.state();
        let to = state.endpoint?;
        Some((state.tunnel.handle_outgoing_packet(packet, Some(mtu))?, to))
    }

    /// Takes a message that came from `endpoint`, which is where the peer is if it is genuine.
    pub(crate) fn receive(&self, message: WgKind, endpoint: SocketAddr, mtu: &mut MtuWatcher) -> Received {
        let mut state = self.state();
        match state.tunnel.handle_incoming_packet(message) {
            TunnResult::Done => Received::Done,
            TunnResult::Err(_) => Received::Refused,
            TunnResult::WriteToNetwork(answer) => {
                state.follow(endpoint);
                let queued = state.tunnel.get_queued_packets(mtu);
                Received::Messages(std::iter::once(answer).chain(queued).collect())
            }
            TunnResult::WriteToTunnel(packet) => {
                state.follow(endpoint);
                Received::Packet(packet)
            }
        }
    }

    /// What is due: a handshake, a keepalive. To be asked four times a second.
    pub(crate) fn due(&self) -> Option<(WgKind, SocketAddr)> {
        let mut state = self.state();
        let to = state.endpoint?;
        // An error says that the session has expired: then nothing is due until there is a packet to send.
        Some((state.tunnel.update_timers().ok().flatten()?, to))
    }

    /// A handshake, if there is no session and none is under way.
    pub(crate) fn greeting(&self) -> Option<(WgKind, SocketAddr)> {
        let mut state = self.state();
        let to = state.endpoint?;
        if state.tunnel.has_active_session() {
            return None;
        }
        Some((state.tunnel.format_handshake_initiation(false)?.into(), to))
    }

    /// Sets the pace at which a handshake is repeated.
    pub(crate) fn hasten(&self, hasty: bool) {
        self.state().tunnel.dangerously_set_timer_params(if hasty { in_haste() } else { TimerParams::default() });
    }

    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.state().endpoint
    }

    /// There is no session.
    pub(crate) fn is_silent(&self) -> bool {
        self.state().tunnel.time_since_last_handshake().is_none()
    }

    pub(crate) fn has_keepalive(&self) -> bool {
        self.state().tunnel.persistent_keepalive().is_some()
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let state = self.state();
        let (handshake_age, tx_bytes, rx_bytes, ..) = state.tunnel.stats();
        PeerStatus {
            public_key: self.public_key.clone(),
            endpoint: state.endpoint,
            handshake_age_seconds: handshake_age.map(|age| age.as_secs()),
            rx_bytes: rx_bytes as u64,
            tx_bytes: tx_bytes as u64,
            allowed_ips: state.allowed_ips.clone(),
            keepalive_seconds: state.tunnel.persistent_keepalive().unwrap_or(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration is checked before it gets here.
pub(crate) fn key(base64: &str) -> PublicKey {
    key::parse_public(base64).expect("public keys of a checked configuration parse")
}

pub(crate) fn keepalive(config: &PeerConfig) -> Option<u16> {
    (config.keepalive_seconds > 0).then_some(config.keepalive_seconds)
}

fn sorted(networks: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut networks: Vec<Ipv4Net> = networks.iter().map(Ipv4Net::trunc).collect();
    networks.sort();
    networks
}
