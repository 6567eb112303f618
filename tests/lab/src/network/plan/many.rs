//! Many sites: three sites and two anchors at once. Names and addresses match the manifests in `examples/fleet`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::van::{ANCHOR, ANCHOR_HOST, ANCHOR6, CLIENT, CLIENT6, EDGE, INTERNET, LAN, SERVER, SERVER6, UPLINKS};
use super::{Anchor, Plan, Segment, Site, Uplink};

pub const YACHT_2: &str = "yacht-2";
pub const CLINIC_3: &str = "clinic-3";
pub const CHI_A: &str = "chi-a";
/// The server behind the second anchor.
pub const CHI_SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 52, 2);
pub const CHI_SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x52, 0, 0, 0, 0, 2);

/// The van; a yacht, whose satellite is slow and narrow; and a clinic, whose lines carry large frames as both anchors do.
pub static MANY: Plan = Plan {
    examples: "examples/fleet",
    sites: &[
        Site {
            name: EDGE,
            segments: &[Segment { client: LAN, card: "lan0", v4: CLIENT, v6: CLIENT6, mtu: 1_500 }],
            uplinks: &UPLINKS,
        },
        Site {
            name: YACHT_2,
            segments: &[Segment {
                client: "cabin",
                card: "lan0",
                v4: Ipv4Addr::new(172, 16, 20, 2),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 2),
                mtu: 1_500,
            }],
            uplinks: &[
                Uplink {
                    slot: 1,
                    name: "starlink",
                    router: "sea-starlink",
                    card: "wan1",
                    mtu: 1_500,
                    number: 4,
                    private: "100.64.4",
                    delay: Duration::from_millis(16),
                    jitter: Duration::from_millis(2),
                    up_bps: 25_000_000,
                    down_bps: 150_000_000,
                    neighbour: None,
                    dish: None,
                },
                Uplink {
                    slot: 2,
                    name: "satellite",
                    router: "geo",
                    card: "wan2",
                    mtu: 1_400,
                    number: 5,
                    private: "100.64.5",
                    delay: Duration::from_millis(140),
                    jitter: Duration::from_millis(5),
                    up_bps: 10_000_000,
                    down_bps: 30_000_000,
                    neighbour: None,
                    dish: None,
                },
            ],
        },
        Site {
            name: CLINIC_3,
            segments: &[Segment {
                client: "ward",
                card: "lan0",
                v4: Ipv4Addr::new(172, 16, 30, 2),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0x30, 0, 0, 0, 0, 2),
                mtu: 9_000,
            }],
            uplinks: &[
                Uplink {
                    slot: 1,
                    name: "metro",
                    router: "metro",
                    card: "wan1",
                    mtu: 9_000,
                    number: 6,
                    private: "192.168.6",
                    delay: Duration::from_millis(2),
                    jitter: Duration::ZERO,
                    up_bps: 500_000_000,
                    down_bps: 500_000_000,
                    neighbour: None,
                    dish: None,
                },
                Uplink {
                    slot: 4,
                    name: "city",
                    router: "city",
                    card: "wan2",
                    mtu: 9_000,
                    number: 7,
                    private: "192.168.7",
                    delay: Duration::from_millis(6),
                    jitter: Duration::ZERO,
                    up_bps: 100_000_000,
                    down_bps: 100_000_000,
                    neighbour: None,
                    dish: None,
                },
            ],
        },
    ],
    anchors: &[
        Anchor {
            name: ANCHOR_HOST,
            v4: ANCHOR,
            v6: ANCHOR6,
            port: "dal0",
            mtu: 9_000,
            server: INTERNET,
            server_v4: SERVER,
            server_v6: SERVER6,
            neighbours: [None, None],
        },
        Anchor {
            name: CHI_A,
            v4: Ipv4Addr::new(203, 0, 113, 42),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x10),
            port: "chi0",
            mtu: 9_000,
            server: "chi-net",
            server_v4: CHI_SERVER,
            server_v6: CHI_SERVER6,
            neighbours: [None, None],
        },
    ],
};
