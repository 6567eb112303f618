//! From a device as the kernel has it to what it has to be told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use wireguard_uapi::{get, set};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{DeviceConfig, PeerConfig, peer};

/// What is different about a device; what is absent stays.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    private_key: Option<[u8; 32]>,
    listen_port: Option<u16>,
    pub(super) peers: Vec<PeerChange>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PeerChange {
    public_key: [u8; 32],
    remove: bool,
    endpoint: Option<SocketAddr>,
    /// Seconds; 0 is off.
    keepalive: Option<u16>,
    allowed_ips: Option<Vec<(IpAddr, u8)>>,
    /// It is new and known to be somewhere: it is spoken to at once, though it has no keepalive.
    greet: bool,
}

/// What turns the device `found` into `wanted`. Peers that are in both keep their sessions, and an endpoint that is
/// declared is set when its declaration changes from what it was in `before`, so that a peer which moved is not sent
/// back. What is `remembered` of a new peer stands in for an endpoint that is not declared.
pub(super) fn changes(
    found: &get::Device,
    wanted: &DeviceConfig,
    before: Option<&DeviceConfig>,
    secret: &StaticSecret,
    remembered: impl Fn(&str) -> Option<SocketAddr>,
) -> Changes {
    let is_same_key = found.public_key == Some(PublicKey::from(secret).to_bytes());
    let is_same_port = wanted.listen_port == 0 || wanted.listen_port == found.listen_port;
    let known: BTreeMap<[u8; 32], &get::Peer> = found.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    let declared: BTreeMap<&str, &PeerConfig> =
        before.iter().flat_map(|device| &device.peers).map(|peer| (&*peer.public_key, peer)).collect();
    let mut peers = Vec::new();
    let wanted_keys: Vec<[u8; 32]> = wanted.peers.iter().map(|peer| peer::key(&peer.public_key).to_bytes()).collect();
    for public_key in known.keys().filter(|key| !wanted_keys.contains(key)) {
        peers.push(PeerChange { public_key: *public_key, remove: true, ..PeerChange::default() });
    }
    for (public_key, config) in wanted_keys.into_iter().zip(&wanted.peers) {
        let change = match known.get(&public_key) {
            Some(found) => update(found, config, declared.get(&*config.public_key).copied()),
            None => {
                let endpoint = config.endpoint.or_else(|| remembered(&config.public_key));
                let keepalive = Some(config.keepalive_seconds);
                let greet = endpoint.is_some() && config.keepalive_seconds == 0;
                let allowed_ips = Some(networks(&config.allowed_ips));
                PeerChange { public_key, endpoint, keepalive, allowed_ips, greet, remove: false }
            }
        };
        if change != (PeerChange { public_key, ..PeerChange::default() }) {
            peers.push(change);
        }
    }
    Changes {
        private_key: (!is_same_key).then(|| secret.to_bytes()),
        listen_port: (!is_same_port).then_some(wanted.listen_port),
        peers,
    }
}

fn update(found: &get::Peer, config: &PeerConfig, before: Option<&PeerConfig>) -> PeerChange {
    let is_declared_anew = before.is_none_or(|before| before.endpoint != config.endpoint);
    let endpoint = config.endpoint.filter(|_| is_declared_anew || found.endpoint.is_none());
    let wanted = networks(&config.allowed_ips);
    PeerChange {
        public_key: found.public_key,
        endpoint: endpoint.filter(|endpoint| found.endpoint != Some(*endpoint)),
        keepalive: (found.persistent_keepalive_interval != config.keepalive_seconds)
            .then_some(config.keepalive_seconds),
        allowed_ips: (allowed(found) != wanted).then_some(wanted),
        ..PeerChange::default()
    }
}

/// What makes the device speak at once to the peers that have never answered: they are put in anew. One that could not be
/// sent to is otherwise tried again only when Rekey-Timeout is over, 5 s later (WireGuard's paper, 6.1).
pub(super) fn anew(
    mut found: get::Device,
    wanted: &DeviceConfig,
    secret: &StaticSecret,
    remembered: impl Fn(&str) -> Option<SocketAddr>,
) -> Changes {
    let is_unheard = |peer: &get::Peer| peer.endpoint.is_some() && peer.last_handshake_time.is_zero();
    let (unheard, others): (Vec<_>, _) = found.peers.drain(..).partition(is_unheard);
    found.peers = others;
    let mut changes = changes(&found, wanted, Some(wanted), secret, remembered);
    changes.peers.splice(0..0, unheard.iter().map(removal));
    changes
}

/// What a device is left with that shall do nothing: no key, no peers.
pub(super) fn silence(found: &get::Device) -> Changes {
    Changes { private_key: Some([0; 32]), listen_port: None, peers: found.peers.iter().map(removal).collect() }
}

fn removal(peer: &get::Peer) -> PeerChange {
    PeerChange { public_key: peer.public_key, remove: true, ..PeerChange::default() }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// What the kernel is told about `link`, one message after the other.
    pub(super) fn messages<'a>(&'a self, link: &'a str) -> Vec<set::Device<'a>> {
        let mut device = set::Device::from_ifname(link).peers(self.peers.iter().map(PeerChange::message).collect());
        device.private_key = self.private_key.as_ref();
        device.listen_port = self.listen_port;
        // The kernel sends a keepalive, and so a handshake, when the interval stops being 0; it is not to stay.
        let greeted = self.peers.iter().filter(|peer| peer.greet);
        let quiet: Vec<_> = greeted.map(|peer| PeerChange::quiet(&peer.public_key)).collect();
        let mut messages = vec![device];
        if !quiet.is_empty() {
            messages.push(set::Device::from_ifname(link).peers(quiet));
        }
        messages
    }
}

impl PeerChange {
    fn message(&self) -> set::Peer<'_> {
        let mut peer = set::Peer::from_public_key(&self.public_key);
        if self.remove {
            peer.flags.push(set::WgPeerF::RemoveMe);
        }
        peer.endpoint = self.endpoint.as_ref();
        peer.persistent_keepalive_interval = if self.greet { Some(1) } else { self.keepalive };
        if let Some(networks) = &self.allowed_ips {
            peer.flags.push(set::WgPeerF::ReplaceAllowedIps);
            let networks = networks.iter();
            peer.allowed_ips =
                networks.map(|(ipaddr, length)| set::AllowedIp { ipaddr, cidr_mask: Some(*length) }).collect();
        }
        peer
    }

    fn quiet(public_key: &[u8; 32]) -> set::Peer<'_> {
        set::Peer::from_public_key(public_key).persistent_keepalive_interval(0)
    }
}

fn networks(networks: &[Ipv4Net]) -> Vec<(IpAddr, u8)> {
    let mut networks: Vec<_> =
        networks.iter().map(|network| (network.network().into(), network.prefix_len())).collect();
    networks.sort();
    networks
}

fn allowed(peer: &get::Peer) -> Vec<(IpAddr, u8)> {
    let mut networks: Vec<_> = peer.allowed_ips.iter().map(|network| (network.ipaddr, network.cidr_mask)).collect();
    networks.sort();
    networks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;

    fn config(byte: u8, endpoint: Option<&str>, network: &str, keepalive_seconds: u16) -> PeerConfig {
        PeerConfig {
            public_key: key::to_base64([byte; 32]),
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            allowed_ips: vec![network.parse().unwrap()],
            keepalive_seconds,
        }
    }

    fn device(peers: Vec<PeerConfig>) -> DeviceConfig {
        let name = || String::from("psw1");
        DeviceConfig { netns: name(), link: name(), underlay_netns: name(), listen_port: 51_821, peers }
    }

    /// The kernel's device once `config` was applied to it.
    fn found(config: &DeviceConfig, secret: &StaticSecret) -> get::Device {
        let peer = |peer: &PeerConfig| get::Peer {
            public_key: peer::key(&peer.public_key).to_bytes(),
            preshared_key: [0; 32],
            endpoint: peer.endpoint,
            persistent_keepalive_interval: peer.keepalive_seconds,
            last_handshake_time: std::time::Duration::ZERO,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: networks(&peer.allowed_ips)
                .into_iter()
                .map(|(ipaddr, cidr_mask)| get::AllowedIp { family: libc::AF_INET as u16, ipaddr, cidr_mask })
                .collect(),
            protocol_version: 1,
        };
        get::Device {
            ifindex: 7,
            ifname: config.link.clone(),
            private_key: Some(secret.to_bytes()),
            public_key: Some(PublicKey::from(secret).to_bytes()),
            listen_port: config.listen_port,
            fwmark: 0,
            peers: config.peers.iter().map(peer).collect(),
        }
    }

    fn of(found: &get::Device, wanted: &DeviceConfig, before: &DeviceConfig, secret: &StaticSecret) -> Changes {
        changes(found, wanted, Some(before), secret, |_| None)
    }

    #[test]
    fn what_is_as_declared_is_left_alone() {
        let secret = StaticSecret::random();
        let config = device(vec![config(1, Some("192.0.2.1:51821"), "10.0.0.1/32", 25)]);
        assert!(of(&found(&config, &secret), &config, &config, &secret).is_empty());
    }

    #[test]
    fn only_what_differs_is_told() {
        let secret = StaticSecret::random();
        let before = device(vec![
            config(1, Some("192.0.2.1:51821"), "10.0.0.1/32", 25),
            config(2, None, "10.0.0.2/32", 0),
            config(3, None, "10.0.0.3/32", 0),
        ]);
        let mut after = before.clone();
        after.peers.remove(1);
        after.peers[0].keepalive_seconds = 5;
        after.peers[1].allowed_ips = vec!["10.0.0.33/32".parse().unwrap()];
        after.listen_port = 51_822;
        let expected = Changes {
            private_key: None,
            listen_port: Some(51_822),
            peers: vec![
                PeerChange { public_key: [2; 32], remove: true, ..PeerChange::default() },
                PeerChange { public_key: [1; 32], keepalive: Some(5), ..PeerChange::default() },
                PeerChange {
                    public_key: [3; 32],
                    allowed_ips: Some(vec![("10.0.0.33".parse().unwrap(), 32)]),
                    ..PeerChange::default()
                },
            ],
        };
        assert_eq!(of(&found(&before, &secret), &after, &before, &secret), expected);
    }

    #[test]
    fn a_peer_that_moved_is_not_sent_back_until_its_declaration_changes() {
        let secret = StaticSecret::random();
        let before = device(vec![config(1, Some("192.0.2.1:51821"), "10.0.0.1/32", 25)]);
        let mut kernel = found(&before, &secret);
        kernel.peers[0].endpoint = Some("198.51.100.9:4000".parse().unwrap());
        assert!(of(&kernel, &before, &before, &secret).is_empty());
        let mut after = before.clone();
        after.peers[0].endpoint = Some("192.0.2.7:51821".parse().unwrap());
        assert_eq!(of(&kernel, &after, &before, &secret).peers[0].endpoint, after.peers[0].endpoint);
    }

    #[test]
    fn another_key_replaces_the_devices() {
        let (old, new) = (StaticSecret::random(), StaticSecret::random());
        let config = device(vec![]);
        assert_eq!(of(&found(&config, &old), &config, &config, &new).private_key, Some(new.to_bytes()));
    }

    #[test]
    fn a_new_peer_that_is_remembered_is_greeted_and_then_left_in_peace() {
        let secret = StaticSecret::random();
        let (before, after) = (device(vec![]), device(vec![config(1, None, "10.0.0.1/32", 0)]));
        let remembered: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let changes = changes(&found(&before, &secret), &after, Some(&before), &secret, |_| Some(remembered));
        let messages = changes.messages("psw1");
        let told: Vec<_> = messages
            .iter()
            .map(|message| (message.peers[0].endpoint.copied(), message.peers[0].persistent_keepalive_interval))
            .collect();
        assert_eq!(told, [(Some(remembered), Some(1)), (None, Some(0))]);
        assert!(messages[1].private_key.is_none() && messages[1].flags.is_empty());
    }

    #[test]
    fn where_there_is_a_way_anew_peers_that_never_answered_are_put_in_anew_and_no_others() {
        let secret = StaticSecret::random();
        let peer = |byte| config(byte, Some("192.0.2.1:51821"), "10.0.0.1/32", 25);
        let config = device(vec![peer(1), peer(2), config(3, None, "10.0.0.3/32", 0)]);
        let found = |heard: &[usize]| {
            let mut found = found(&config, &secret);
            heard.iter().for_each(|peer| found.peers[*peer].last_handshake_time = std::time::Duration::from_secs(7));
            found
        };
        let changes = anew(found(&[1]), &config, &secret, |_| None);
        let messages = changes.messages("psw1");
        let [message] = &messages[..] else { panic!("one message: the kernel does it at once") };
        let told: Vec<_> = message.peers.iter().map(|peer| (peer.public_key, &peer.flags[..], peer.endpoint)).collect();
        let endpoint = config.peers[0].endpoint;
        assert_eq!(
            told,
            [
                (&[1; 32], &[set::WgPeerF::RemoveMe][..], None),
                (&[1; 32], &[set::WgPeerF::ReplaceAllowedIps][..], endpoint.as_ref())
            ]
        );
        assert!(anew(found(&[0, 1]), &config, &secret, |_| None).is_empty());
    }

    #[test]
    fn a_device_that_is_given_up_keeps_neither_key_nor_peers() {
        let secret = StaticSecret::random();
        let config = device(vec![config(1, None, "10.0.0.1/32", 0)]);
        let changes = silence(&found(&config, &secret));
        let [message] = &changes.messages("psw1")[..] else { panic!("one message") };
        assert_eq!(message.private_key, Some(&[0; 32]));
        assert_eq!(message.peers[0].flags, [set::WgPeerF::RemoveMe]);
    }
}
