//! The peers of a device, and which of them a packet is for or from.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::PeerConfig;
use crate::allowed_ips::AllowedIps;
use crate::ecn::{self, Ecn};
use crate::key;
use crate::peer::{self, Peer, Received};
use crate::underlay::Datagram;

/// Handshakes per second and address beyond which a cookie is asked for, as in gotatun's own device.
const HANDSHAKE_LIMIT: u64 = 100;
/// A message's first byte if it carries a packet, and the length of one that carries an empty one: a keepalive.
const DATA: u8 = 4;
const KEEPALIVE_BYTES: usize = 32;

/// What the two directions of a device share.
pub(crate) struct Peers {
    secret: StaticSecret,
    public: PublicKey,
    limiter: Arc<RateLimiter>,
    indexes: IndexTable,
    table: RwLock<Table>,
    /// By the index with which we announced a session: messages name it.
    sessions: Mutex<HashMap<u32, Arc<Peer>>>,
    /// Messages with a packet that did not become one for the TUN.
    rejected: Arc<AtomicU64>,
}

#[derive(Default)]
struct Table {
    by_key: BTreeMap<String, Arc<Peer>>,
    by_address: AllowedIps<Arc<Peer>>,
}

impl Peers {
    /// None yet; what is refused is added to `rejected`.
    pub(crate) fn new(secret: &StaticSecret, rejected: Arc<AtomicU64>) -> Peers {
        let public = PublicKey::from(secret);
        Peers {
            secret: secret.clone(),
            public,
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT)),
            indexes: IndexTable::from_os_rng(),
            table: RwLock::default(),
            sessions: Mutex::default(),
            rejected,
        }
    }

    /// In order of public key.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_key.values().cloned().collect()
    }

    /// Turns the peers `before` into `after`; those that are in both keep their sessions. What is `remembered` of a new
    /// one stands in for an endpoint that is not declared.
    pub(crate) fn change(
        &self,
        before: &BTreeMap<&str, &PeerConfig>,
        after: &BTreeMap<&str, &PeerConfig>,
        remembered: impl Fn(&str) -> Option<SocketAddr>,
    ) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Table { by_key, by_address } = &mut *table;
        by_key.retain(|public_key, _| after.contains_key(&**public_key));
        for (public_key, config) in after {
            match (by_key.get(*public_key), before.get(public_key)) {
                (Some(_), Some(before)) if before == config => {}
                (Some(peer), Some(before)) => peer.change(before, config),
                _ => {
                    let peer = Peer::new(config, self.tunnel(config), remembered(public_key));
                    by_key.insert((*public_key).to_owned(), Arc::new(peer));
                }
            }
        }
        *by_address = AllowedIps::default();
        for (public_key, config) in after {
            for network in &config.allowed_ips {
                by_address.insert(*network, by_key[*public_key].clone());
            }
        }
        self.sessions().retain(|_, peer| after.contains_key(&*peer.public_key));
    }

    fn tunnel(&self, config: &PeerConfig) -> Tunn {
        let keepalive = peer::keepalive(config);
        let public = peer::key(&config.public_key);
        Tunn::new(self.secret.clone(), public, None, keepalive, self.indexes.clone(), self.limiter.clone())
    }

    /// The datagram that carries `packet` to the peer that has its destination, or what has to come first.
    pub(crate) fn seal(&self, packet: Packet, mtu: &mut MtuWatcher) -> Option<Datagram> {
        let Addresses { destination, .. } = Addresses::of(&packet)?;
        let ecn = Ecn::of_packet(&packet);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let peer = table.by_address.find(destination)?;
        let (message, to) = peer.seal(packet, mtu)?;
        // A handshake is no packet of the flow.
        let ecn = if matches!(message, WgKind::Data(_)) { ecn } else { Ecn::NotEct };
        Some(self.datagram(peer, message, to, ecn))
    }

    /// Takes a datagram that came in; what is in it is added to `packets`, what has to be answered to `answers`.
    pub(crate) fn open(
        &self,
        datagram: Datagram,
        mtu: &mut MtuWatcher,
        packets: &mut Vec<Packet>,
        answers: &mut Vec<Datagram>,
    ) {
        let carries_packet = datagram.packet.first() == Some(&DATA) && datagram.packet.len() != KEEPALIVE_BYTES;
        let packet = self.unpack(datagram, mtu, answers);
        if carries_packet && packet.is_none() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        packets.extend(packet);
    }

    fn unpack(&self, datagram: Datagram, mtu: &mut MtuWatcher, answers: &mut Vec<Datagram>) -> Option<Packet> {
        let Datagram { packet, peer: from, ecn } = datagram;
        let message = match self.limiter.verify_packet(from, packet) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                answers.push(Datagram { packet: cookie.into(), peer: from, ecn: Ecn::NotEct });
                return None;
            }
            Err(_) => return None,
        };
        let peer = self.sender(&message)?;
        match peer.receive(message, from, mtu) {
            Received::Done | Received::Refused => None,
            Received::Messages(messages) => {
                let messages = messages.into_iter();
                answers.extend(messages.map(|message| self.datagram(&peer, message, from, Ecn::NotEct)));
                None
            }
            Received::Packet(mut packet) => {
                let Addresses { source, length, .. } = Addresses::of(&packet)?;
                // What was added to fill it up.
                packet.truncate(length);
                let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
                let is_its_own = table.by_address.find(source).is_some_and(|owner| Arc::ptr_eq(owner, &peer));
                (is_its_own && ecn::decapsulate(ecn, &mut packet)).then_some(packet)
            }
        }
    }

    /// Who a message claims to be from.
    fn sender(&self, message: &WgKind) -> Option<Arc<Peer>> {
        let index = match message {
            WgKind::HandshakeInit(message) => {
                let key = parse_handshake_anon(&self.secret, &self.public, message).ok()?.peer_static_public;
                let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
                return table.by_key.get(&key::to_base64(key)).cloned();
            }
            WgKind::HandshakeResp(message) => message.receiver_idx.get(),
            WgKind::CookieReply(message) => message.receiver_idx.get(),
            WgKind::Data(message) => message.header.receiver_idx.get(),
        };
        self.sessions().get(&index).cloned()
    }

    /// What is due to be sent, to be asked four times a second.
    pub(crate) fn due(&self) -> Vec<Datagram> {
        // Otherwise handshakes would be counted for ever while there is no peer.
        self.limiter.try_reset_count();
        self.sessions().retain(|index, _| self.indexes.in_use(*index));
        let due = |peer: &Arc<Peer>| peer.due().map(|(message, to)| self.datagram(peer, message, to, Ecn::NotEct));
        self.all().iter().filter_map(due).collect()
    }

    /// A handshake with `peer`, unless there is a session or one is under way.
    pub(crate) fn greeting(&self, peer: &Arc<Peer>) -> Option<Datagram> {
        peer.greeting().map(|(message, to)| self.datagram(peer, message, to, Ecn::NotEct))
    }

    /// A message as it goes out. What begins a session announces the index under which it will be answered.
    fn datagram(&self, peer: &Arc<Peer>, message: WgKind, to: SocketAddr, ecn: Ecn) -> Datagram {
        let index = match &message {
            WgKind::HandshakeInit(message) => Some(message.sender_idx.get()),
            WgKind::HandshakeResp(message) => Some(message.sender_idx.get()),
            WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        if let Some(index) = index {
            self.sessions().insert(index, peer.clone());
        }
        Datagram { packet: message.into(), peer: to, ecn }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u32, Arc<Peer>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read of an IPv4 packet, which is all that goes through a tunnel.
struct Addresses {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    /// Of the whole packet in bytes, as its header says.
    length: usize,
}

impl Addresses {
    /// `None` if it is no IPv4 packet, or cut short.
    fn of(packet: &[u8]) -> Option<Addresses> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_whole = header[0] >> 4 == 4 && (header.len()..=packet.len()).contains(&length);
        is_whole.then(|| Addresses { source: address(12), destination: address(16), length })
    }
}
