//! Random inventories: mostly sound, with references into the void, doubly used slots and overlapping prefixes among
//! them, as people write them.

use std::collections::BTreeMap;

use pathsteer_compiler::Inventory;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::plan::Family;
use pathsteer_crds::{
    AddressMethod, AnchorEndpoint, AnchorSpec, Attach, CopyBudget, Egress, FabricSpec, InternetInterface, Match,
    ModeKind, ModeSpec, OverrideAction, OverrideSpec, PortRange, Profile, Protocol, SegmentTreatment, SiteSpec,
    TrafficPolicySpec, Treatment, UplinkKind, UplinkSpec, VlanSpec,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub const SITES: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];
const ANCHORS: [&str; 3] = ["chi-a", "dal-a", "fra-a"];
const VLANS: [&str; 4] = ["crew", "guests", "media", "tools"];
const UPLINKS: [&str; 4] = ["cellular", "fiber", "starlink", "wifi"];

prop_compose! {
    /// Any inventory, without allocations.
    pub fn inventory()(
        overlay in select(vec!["10.100.0.0/16", "10.100.16.0/20"]),
        operators in subsequence(vec!["192.0.2.10", "2001:db8:a::1"], 0..=1),
        anchors in btree_map(select(ANCHORS.to_vec()), anchor(), 1..=3),
        sites in btree_map(select(SITES.to_vec()), site(), 0..=5),
        uplinks in btree_map((select(SITES.to_vec()), select(UPLINKS.to_vec())), uplink(), 0..=14),
        vlans in btree_map((select(SITES.to_vec()), select(VLANS.to_vec())), vlan(), 0..=8),
        traffic_policies in btree_map("[a-e]", policy(), 0..=4),
        modes in btree_map("[a-e]", mode(), 0..=3),
        overrides in btree_map("[a-h]", override_(), 0..=4),
        mute in subsequence([&SITES[..], &ANCHORS[..]].concat(), 0..=2),
    ) -> Inventory {
        let fabric = FabricSpec {
            overlay: overlay.parse().unwrap(),
            window_packets: 16_384,
            operators: operators.iter().map(|operator| operator.parse().unwrap()).collect(),
            guests_denied: vec!["10.0.0.0/8".parse().unwrap(), "fc00::/7".parse().unwrap()],
        };
        let speaking = SITES.iter().chain(&ANCHORS).filter(|node| !mute.contains(*node));
        Inventory {
            fabrics: BTreeMap::from([("default".to_owned(), fabric)]),
            anchors: owned(anchors),
            sites: owned(sites),
            uplinks: sited(uplinks),
            vlans: sited(vlans),
            traffic_policies,
            modes,
            overrides,
            identities: speaking.map(|node| ((*node).to_owned(), identity(node))).collect(),
            ..Inventory::default()
        }
    }
}

prop_compose! {
    /// A site of another name than those of [`inventory`], before or after them in the order of names, with whatever
    /// belongs to it; its prefixes may be somebody else's.
    pub fn newcomer()(
        name in select(vec!["aaa", "zulu"]),
        spec in site(),
        uplinks in btree_map(select(UPLINKS.to_vec()), uplink(), 0..=3),
        vlans in btree_map(select(VLANS.to_vec()), vlan(), 0..=2),
    ) -> Inventory {
        let key = |(one, spec): (&str, UplinkSpec)| (format!("{name}/{one}"), spec);
        Inventory {
            sites: BTreeMap::from([(name.to_owned(), spec)]),
            uplinks: uplinks.into_iter().map(key).collect(),
            vlans: vlans.into_iter().map(|(one, spec)| (format!("{name}/{one}"), spec)).collect(),
            identities: BTreeMap::from([(name.to_owned(), identity(name))]),
            ..Inventory::default()
        }
    }
}

fn owned<S>(specs: BTreeMap<&str, S>) -> BTreeMap<String, S> {
    specs.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect()
}

fn sited<S>(specs: BTreeMap<(&str, &str), S>) -> BTreeMap<String, S> {
    specs.into_iter().map(|((site, name), spec)| (format!("{site}/{name}"), spec)).collect()
}

/// A key per slot that differs from node to node.
fn identity(node: &str) -> NodeIdentity {
    let key = |slot: u8| format!("{:A<43}=", format!("{}{slot}", node.replace('-', "")));
    NodeIdentity { wireguard_keys: (1..=8).map(|slot| (slot, key(slot))).collect(), incarnation: 0 }
}

fn anchor() -> impl Strategy<Value = AnchorSpec> {
    let pool = select(vec![
        vec![],
        vec!["198.51.7.0/28"],
        vec!["198.51.1.16/29", "2001:db8:51::100/124"],
        vec!["198.51.2.0/24"],
        vec!["2001:db8:66::/64"],
    ]);
    (1u8..=4, any::<bool>(), any::<bool>(), 1u16..60_000, mtu(), pool).prop_map(
        |(number, v6, gateway, port_base, mtu, pool)| {
            let address = |text: String| AnchorEndpoint { address: text.parse().unwrap() };
            let mut endpoints = vec![address(format!("203.0.113.{number}"))];
            endpoints.extend(v6.then(|| address(format!("2001:db8:c::{number}"))));
            AnchorSpec {
                endpoints,
                port_base,
                mtu,
                internet: InternetInterface {
                    interface: "inet0".to_owned(),
                    addresses: vec![
                        format!("198.51.{number}.1/24").parse().unwrap(),
                        "2001:db8:51::1/64".parse().unwrap(),
                    ],
                    gateways: gateway.then(|| format!("198.51.{number}.254").parse().unwrap()).into_iter().collect(),
                },
                egress: match pool.as_slice() {
                    [] => Egress::Routed,
                    pool => Egress::Snat { pool: pool.iter().map(|network| network.parse().unwrap()).collect() },
                },
            }
        },
    )
}

fn site() -> impl Strategy<Value = SiteSpec> {
    let names: Vec<String> = ANCHORS.iter().map(|name| (*name).to_owned()).collect();
    let anchors = subsequence(names, 1..=2).prop_shuffle();
    let ports = subsequence(vec![22, 443], 0..=2);
    (anchors, vec(prefix(), 1..=2), vec(1u8..=9, 0..=2), ports).prop_map(|(anchors, prefixes, vips, ports)| {
        let vip = |number: u8| match number % 2 {
            0 => format!("198.18.0.{number}").parse().unwrap(),
            _ => format!("2001:db8:ff::{number}").parse().unwrap(),
        };
        let vips = vips.into_iter().map(vip).collect();
        SiteSpec { anchors, vips, prefixes, dead_man_seconds: 120, management_ports: ports }
    })
}

/// Few enough that they often overlap.
fn prefix() -> impl Strategy<Value = ipnet::IpNet> {
    prop_oneof![
        8 => (0u8..=15).prop_map(|net| format!("172.16.{net}.0/24")),
        2 => (0u8..=15).prop_map(|net| format!("2001:db8:{net:x}::/64")),
        1 => Just("172.16.8.0/21".to_owned()),
        1 => Just("10.100.16.0/24".to_owned()),
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn mtu() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(1_500), 1 => select(vec![1_280, 1_391, 1_392, 9_000])]
}

fn uplink() -> impl Strategy<Value = UplinkSpec> {
    let addresses = prop_oneof![
        3 => Just(AddressMethod::Dhcp),
        1 => Just(AddressMethod::Slaac),
        1 => Just(AddressMethod::Dhcpv6),
        1 => (1u8..=9).prop_map(|net| AddressMethod::Static {
            addresses: vec![format!("100.64.{net}.2/24").parse().unwrap()],
            gateways: vec![format!("100.64.{net}.1").parse().unwrap()],
        }),
        1 => Just(AddressMethod::Static { addresses: vec!["2001:db8:f1::2/64".parse().unwrap()], gateways: vec![] }),
    ];
    let underlay = select(vec![None, None, Some(Family::Ipv4), Some(Family::Ipv6)]);
    let budget = CopyBudget { bytes_per_second: Some(250_000), bytes_per_month: None };
    let budget = select(vec![None, Some(budget)]);
    let rest = (mtu(), underlay, budget);
    (1u8..=8, 1u8..=9, addresses, 0u16..4, rest).prop_map(|(slot, number, address, cost, rest)| UplinkSpec {
        slot,
        kind: UplinkKind::Ethernet,
        interface: format!("wan{number}"),
        attach: Attach::Move,
        address,
        resolvers: vec![],
        mtu: rest.0,
        underlay: rest.1,
        copy_budget: rest.2,
        cost,
        metered: None,
    })
}

/// Tagged and untagged ones on few cards, one of which may be an uplink's; inside and outside of what prefixes there are.
fn vlan() -> impl Strategy<Value = VlanSpec> {
    let treatment = select(vec![
        SegmentTreatment::Survivable,
        SegmentTreatment::Survivable,
        SegmentTreatment::Service,
        SegmentTreatment::Mixed,
        SegmentTreatment::BestEffort,
        SegmentTreatment::Guest,
    ]);
    let id = prop_oneof![2 => Just(None), 1 => (20u16..=23).prop_map(Some)];
    let reaches = subsequence(VLANS.to_vec(), 0..=2);
    (0u8..=15, select(vec!["wan1", "lan0", "lan1", "lan2"]), treatment, id, reaches).prop_map(
        |(net, interface, treatment, id, reaches)| {
            let addresses = if treatment.in_fabric() || net == 0 {
                vec![format!("172.16.{net}.1/24")]
            } else {
                vec![format!("10.77.{net}.1/24"), format!("fd77:{net}::1/64")]
            };
            VlanSpec {
                interface: interface.to_owned(),
                id,
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                treatment,
                reaches: match treatment {
                    SegmentTreatment::Guest => Vec::new(),
                    _ => reaches.into_iter().map(str::to_owned).collect(),
                },
            }
        },
    )
}

/// Sites, among them some that may not exist.
fn sites() -> impl Strategy<Value = Vec<String>> {
    let names: Vec<String> = SITES.iter().map(|name| (*name).to_owned()).collect();
    subsequence(names, 0..=2)
}

pub fn policy() -> impl Strategy<Value = TrafficPolicySpec> {
    let class = select(vec!["default", "voice", "bulk", "video"]);
    let treatment = select(vec![Treatment::Survivable, Treatment::Service, Treatment::BestEffort]);
    (sites(), 0u16..3, vec(match_(), 1..=3), class, treatment).prop_map(
        |(sites, priority, matches, class, treatment)| TrafficPolicySpec {
            sites,
            priority,
            matches,
            treatment,
            steering_class: class.to_owned(),
        },
    )
}

/// Few enough values that matches often overlap.
fn match_() -> impl Strategy<Value = Match> {
    let prefix = select(vec![
        None,
        Some("0.0.0.0/0"),
        Some("::/0"),
        Some("203.0.113.0/24"),
        Some("203.0.113.0/25"),
        Some("203.0.113.128/25"),
        Some("192.0.2.9/32"),
        Some("2001:db8:9::/48"),
    ]);
    let protocol = select(vec![None, Some(Protocol::Tcp), Some(Protocol::Udp), Some(Protocol::Icmp)]);
    let ports = vec((1u16..=40, 0u16..=10).prop_map(|(first, more)| PortRange { first, last: first + more }), 0..=3);
    let dscp = select(vec![None, None, Some(10), Some(46)]);
    let profile = select(vec![None, None, None, Some(Profile::Sip), Some(Profile::Games)]);
    (prefix, protocol, ports, dscp, profile).prop_map(|(prefix, protocol, ports, dscp, profile)| {
        let prefix = prefix.map(|prefix| prefix.parse().unwrap());
        match (profile, protocol) {
            (None, None) if prefix.is_none() && dscp.is_none() => {
                Match { protocol: Some(Protocol::Tcp), ..Match::default() }
            }
            (None, Some(Protocol::Tcp | Protocol::Udp)) => Match { profile, protocol, prefix, ports, dscp },
            (None, _) => Match { protocol, prefix, dscp, ..Match::default() },
            (Some(_), _) => Match { profile, prefix, dscp, ..Match::default() },
        }
    })
}

fn mode() -> impl Strategy<Value = ModeSpec> {
    let kind = select(vec![ModeKind::Training, ModeKind::Tripwire, ModeKind::Mirror]);
    (sites(), kind, 1u8..=3).prop_map(|(sites, mode, copies)| ModeSpec { sites, mode, copies })
}

fn override_() -> impl Strategy<Value = OverrideSpec> {
    let uplink = || select(UPLINKS.to_vec()).prop_map(str::to_owned);
    let action = prop_oneof![
        Just(OverrideAction::Mode(ModeKind::Mirror)),
        uplink().prop_map(OverrideAction::ForceUplink),
        uplink().prop_map(OverrideAction::FailUplink),
    ];
    (select(SITES.to_vec()), action).prop_map(|(site, action)| OverrideSpec {
        site: site.to_owned(),
        action,
        duration_seconds: None,
    })
}
