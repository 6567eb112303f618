//! The demo's network: a van with three uplinks and one anchor. Names and addresses match the manifests in `examples/rv`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{Anchor, Neighbour, Plan, Segment, Site, Uplink};

/// A client behind the edge.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 7, 2);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2);
/// A client in the segment whose flows are treated one by one.
pub const MEDIA_CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 8, 2);
pub const MEDIA_CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 2);
/// A guest of the van.
pub const GUEST_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub const GUEST_CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// A server in the internet, behind the anchor.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);
/// A server in the internet that every provider reaches by itself: its subnets are a /27 and a /64.
pub const WEB_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
pub const WEB_SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 2);
/// Where the operator listens.
pub const OPERATOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const OPERATOR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x10);
pub const OPERATOR_PORT: u16 = 7_443;
/// Where the sites reach the anchor.
pub const ANCHOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const ANCHOR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x10);
/// The anchors' WireGuard ports: one above 51,820 per slot.
pub const TUNNEL_PORTS: std::ops::RangeInclusive<u16> = 51_821..=51_828;
/// A Starlink dish has this address and port in every household.
pub const DISH_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 1);
pub const DISH_PORT: u16 = 9_200;

pub const LAN: &str = "lan";
pub const MEDIA: &str = "media";
pub const GUEST: &str = "guest";
pub const EDGE: &str = "rv-07";
pub const WAN: &str = "wan";
pub const ANCHOR_HOST: &str = "dal-a";
pub const INTERNET: &str = "internet";
pub const WEB: &str = "web";
pub const HQ: &str = "hq";
pub const DISH: &str = "dish";
/// On the wire of the van's fibre.
pub const NEIGHBOUR: &str = "neighbour";
/// On both wires of the anchor: another customer of the data centre.
pub const RACK: &str = "rack";
/// Holds the hubs.
pub const SWITCHES: &str = "switches";

/// Fibre: 7 ms. Starlink: 28 ms with 4 ms of jitter, carrier-grade NAT. Cellular: 60 ms, carrier-grade NAT.
pub const UPLINKS: [Uplink; 3] = [
    Uplink {
        slot: 1,
        name: "fiber",
        router: "fiber",
        card: "wan1",
        mtu: 1_500,
        number: 1,
        private: "192.168.1",
        delay: Duration::from_micros(3_500),
        jitter: Duration::ZERO,
        up_bps: 500_000_000,
        down_bps: 500_000_000,
        neighbour: Some(Neighbour {
            host: NEIGHBOUR,
            card: "eth0",
            v4: Ipv4Addr::new(192, 168, 1, 200),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0xf01, 0, 0, 0, 0, 0x200),
        }),
        dish: None,
    },
    Uplink {
        slot: 2,
        name: "starlink",
        router: "starlink",
        card: "wan2",
        mtu: 1_500,
        number: 2,
        private: "100.64.2",
        delay: Duration::from_millis(14),
        jitter: Duration::from_millis(2),
        up_bps: 25_000_000,
        down_bps: 150_000_000,
        neighbour: None,
        dish: Some(DISH_ADDRESS),
    },
    Uplink {
        slot: 3,
        name: "cellular",
        router: "cellular",
        card: "wan3",
        mtu: 1_500,
        number: 3,
        private: "100.64.3",
        delay: Duration::from_millis(30),
        jitter: Duration::ZERO,
        up_bps: 25_000_000,
        down_bps: 60_000_000,
        neighbour: None,
        dish: None,
    },
];

/// The van, its anchor, and people who do not mean well.
pub static VAN: Plan = Plan {
    examples: "examples/rv",
    sites: &[Site {
        name: EDGE,
        segments: &[
            Segment { client: LAN, card: "lan0", v4: CLIENT, v6: CLIENT6, mtu: 1_500 },
            Segment { client: MEDIA, card: "lan1", v4: MEDIA_CLIENT, v6: MEDIA_CLIENT6, mtu: 1_500 },
            Segment { client: GUEST, card: "lan2", v4: GUEST_CLIENT, v6: GUEST_CLIENT6, mtu: 1_500 },
        ],
        uplinks: &UPLINKS,
    }],
    anchors: &[Anchor {
        name: ANCHOR_HOST,
        v4: ANCHOR,
        v6: ANCHOR6,
        port: "dal0",
        mtu: 1_500,
        server: INTERNET,
        server_v4: SERVER,
        server_v6: SERVER6,
        neighbours: [
            Some(Neighbour {
                host: RACK,
                card: "wan0",
                v4: Ipv4Addr::new(203, 0, 113, 20),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x20),
            }),
            Some(Neighbour {
                host: RACK,
                card: "inet0",
                v4: Ipv4Addr::new(198, 51, 100, 20),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x20),
            }),
        ],
    }],
};

/// The van's uplink named `name`.
pub fn uplink(name: &str) -> Option<&'static Uplink> {
    VAN.site(EDGE).uplink(name)
}
