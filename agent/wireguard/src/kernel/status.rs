//! A device of the kernel's as an agent sees it.

use std::time::{Duration, SystemTime};

use ipnet::Ipv4Net;
use wireguard_uapi::get;

use crate::{DeviceConfig, DeviceStatus, PeerStatus, key};

/// How long a session lives after its handshake: WireGuard's Reject-After-Time.
const SESSION: Duration = Duration::from_secs(180);

/// The status of `found`, which is `config`'s, at `now`.
pub(super) fn device(config: &DeviceConfig, found: &get::Device, public_key: &str, now: SystemTime) -> DeviceStatus {
    let has_key = found.public_key.map(key::to_base64).as_deref() == Some(public_key);
    let mut peers: Vec<PeerStatus> = found.peers.iter().map(|peer| self::peer(peer, now)).collect();
    peers.sort_by(|a, b| a.public_key.cmp(&b.public_key));
    DeviceStatus {
        netns: config.netns.clone(),
        link: config.link.clone(),
        listen_port: found.listen_port,
        problem: (!has_key).then(|| format!("{} has another private key than the slot's", config.link)),
        peers,
    }
}

/// The status of a device that cannot be had.
pub(super) fn missing(config: &DeviceConfig, problem: String) -> DeviceStatus {
    DeviceStatus {
        netns: config.netns.clone(),
        link: config.link.clone(),
        listen_port: 0,
        problem: Some(problem),
        peers: Vec::new(),
    }
}

fn peer(peer: &get::Peer, now: SystemTime) -> PeerStatus {
    // The kernel tells the time of day of the handshake; a clock that was set back makes it lie ahead.
    let at = (!peer.last_handshake_time.is_zero()).then(|| SystemTime::UNIX_EPOCH + peer.last_handshake_time);
    let age = at.map(|at| now.duration_since(at).unwrap_or_default()).filter(|age| *age < SESSION);
    let networks = peer.allowed_ips.iter().filter_map(|allowed| match allowed.ipaddr {
        std::net::IpAddr::V4(address) => Ipv4Net::new(address, allowed.cidr_mask).ok(),
        // None is ever declared.
        std::net::IpAddr::V6(_) => None,
    });
    let mut allowed_ips: Vec<Ipv4Net> = networks.collect();
    allowed_ips.sort();
    PeerStatus {
        public_key: key::to_base64(peer.public_key),
        endpoint: peer.endpoint,
        handshake_age_seconds: age.map(|age| age.as_secs()),
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
        allowed_ips,
        keepalive_seconds: peer.persistent_keepalive_interval,
    }
}

/// Packets from sources that are not their peer's, which is what an interface of the kernel's counts as errors on receipt;
/// `table` is `/proc/net/dev`.
pub(super) fn rejected(table: &str, link: &str) -> u64 {
    let counters = table.lines().find_map(|line| line.trim_start().strip_prefix(link)?.strip_prefix(':'));
    // Bytes, packets, errors.
    counters.and_then(|counters| counters.split_whitespace().nth(2)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(last_handshake_time: Duration) -> get::Peer {
        get::Peer {
            public_key: [7; 32],
            preshared_key: [0; 32],
            endpoint: Some("[2001:db8::1]:51821".parse().unwrap()),
            persistent_keepalive_interval: 25,
            last_handshake_time,
            rx_bytes: 1,
            tx_bytes: 2,
            allowed_ips: vec![],
            protocol_version: 1,
        }
    }

    #[test]
    fn a_handshake_is_as_old_as_its_session_lives_and_then_none() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let age = |at: u64| peer(&found(Duration::from_secs(at)), now).handshake_age_seconds;
        assert_eq!([age(0), age(820), age(821), age(1_000), age(1_001)], [None, None, Some(179), Some(0), Some(0)]);
    }

    #[test]
    fn errors_on_receipt_are_read_of_the_link_alone() {
        let table = "Inter-|   Receive                            |  Transmit\n face |bytes packets errs drop fifo frame\n  \
             psw1: 100 20 3 0 0 3 0 0 50 5 0 0 0 0 0 0\n psw1a1: 7 8 9 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!((rejected(table, "psw1"), rejected(table, "psw1a1"), rejected(table, "psw2")), (3, 9, 0));
    }
}
