//! Names and addresses of the lab. They match the manifests in `examples/rv`.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::emulator::{Profile, Way};

/// A client behind the edge.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 7, 2);
/// A server in the internet, behind the anchor.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Where the operator listens.
pub const OPERATOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const OPERATOR_PORT: u16 = 7_443;
/// Where the sites reach the anchor.
pub const ANCHOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The anchor's WireGuard ports: one above 51,820 per slot.
pub const TUNNEL_PORTS: std::ops::RangeInclusive<u16> = 51_821..=51_828;

pub const LAN: &str = "lan";
pub const EDGE: &str = "rv-07";
pub const WAN: &str = "wan";
pub const ANCHOR_HOST: &str = "dal-a";
pub const INTERNET: &str = "internet";
pub const HQ: &str = "hq";

/// One uplink of the edge, and the provider behind it.
#[derive(Debug)]
pub struct Uplink {
    pub slot: u8,
    /// Name of the Uplink object, and of the provider's router.
    pub name: &'static str,
    /// The edge's network card.
    pub card: &'static str,
    /// The first three bytes of the /24 between the edge and the provider's router, which is `.1` in it.
    pub private: &'static str,
    /// The provider's public address and the WAN's end of that /30.
    pub public: Ipv4Addr,
    pub public_gateway: Ipv4Addr,
    /// One way; the round trip is twice this.
    delay: Duration,
    jitter: Duration,
    up_bps: u64,
    down_bps: u64,
}

impl Uplink {
    /// The provider's router, as the edge sees it.
    pub fn gateway(&self) -> String {
        format!("{}.1", self.private)
    }

    /// What the line does one way. The queue holds 1,000 packets, as a Linux network card does by default.
    pub fn profile(&self, way: Way) -> Profile {
        let rate_bps = match way {
            Way::Up => self.up_bps,
            Way::Down => self.down_bps,
        };
        Profile { delay: self.delay, jitter: self.jitter, loss_ppm: 0, rate_bps, queue_packets: 1_000 }
    }
}

/// Fibre: 7 ms. Starlink: 28 ms with 4 ms of jitter, carrier-grade NAT. Cellular: 60 ms, carrier-grade NAT.
pub const UPLINKS: [Uplink; 3] = [
    Uplink {
        slot: 1,
        name: "fiber",
        card: "wan1",
        private: "192.168.1",
        public: Ipv4Addr::new(203, 0, 113, 133),
        public_gateway: Ipv4Addr::new(203, 0, 113, 134),
        delay: Duration::from_micros(3_500),
        jitter: Duration::ZERO,
        up_bps: 500_000_000,
        down_bps: 500_000_000,
    },
    Uplink {
        slot: 2,
        name: "starlink",
        card: "wan2",
        private: "100.64.2",
        public: Ipv4Addr::new(203, 0, 113, 137),
        public_gateway: Ipv4Addr::new(203, 0, 113, 138),
        delay: Duration::from_millis(14),
        jitter: Duration::from_millis(2),
        up_bps: 25_000_000,
        down_bps: 150_000_000,
    },
    Uplink {
        slot: 3,
        name: "cellular",
        card: "wan3",
        private: "100.64.3",
        public: Ipv4Addr::new(203, 0, 113, 141),
        public_gateway: Ipv4Addr::new(203, 0, 113, 142),
        delay: Duration::from_millis(30),
        jitter: Duration::ZERO,
        up_bps: 25_000_000,
        down_bps: 60_000_000,
    },
];

/// The uplink named `name`.
pub fn uplink(name: &str) -> Option<&'static Uplink> {
    UPLINKS.iter().find(|uplink| uplink.name == name)
}

/// The uplink in `slot`.
pub fn uplink_in(slot: u8) -> Option<&'static Uplink> {
    UPLINKS.iter().find(|uplink| uplink.slot == slot)
}
