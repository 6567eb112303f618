//! Random inventories: mostly sound, with references into the void, doubly used slots and overlapping prefixes among
//! them, as people write them.

use std::collections::BTreeMap;

use pathsteer_compiler::Inventory;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::{
    AddressMethod, AnchorEndpoint, AnchorSpec, Attach, Egress, FabricSpec, InternetInterface, Match, ModeKind,
    ModeSpec, OverrideAction, OverrideSpec, PortRange, Protocol, SiteSpec, TrafficPolicySpec, Treatment, UplinkKind,
    UplinkSpec, VlanSpec,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const SITES: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];
const ANCHORS: [&str; 3] = ["chi-a", "dal-a", "fra-a"];
const UPLINKS: [&str; 4] = ["cellular", "fiber", "starlink", "wifi"];

prop_compose! {
    /// Any inventory, without allocations.
    pub fn inventory()(
        tunnel_mtu in 1_280u16..=1_440,
        overlay in select(vec!["10.100.0.0/16", "10.100.16.0/20"]),
        anchors in btree_map(select(ANCHORS.to_vec()), anchor(), 1..=3),
        sites in btree_map(select(SITES.to_vec()), site(), 0..=5),
        uplinks in btree_map((select(SITES.to_vec()), select(UPLINKS.to_vec())), uplink(), 0..=14),
        vlans in btree_map((select(SITES.to_vec()), select(vec!["crew", "guests"])), vlan(), 0..=6),
        traffic_policies in btree_map("[a-e]", policy(), 0..=4),
        modes in btree_map("[a-e]", mode(), 0..=3),
        overrides in btree_map("[a-h]", override_(), 0..=4),
        mute in subsequence([&SITES[..], &ANCHORS[..]].concat(), 0..=2),
    ) -> Inventory {
        let fabric = FabricSpec { overlay: overlay.parse().unwrap(), window_packets: 16_384, tunnel_mtu };
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
        vlans in btree_map(select(vec!["crew"]), vlan(), 0..=1),
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
    NodeIdentity { wireguard_keys: (1..=8).map(|slot| (slot, key(slot))).collect() }
}

fn anchor() -> impl Strategy<Value = AnchorSpec> {
    (1u8..=4, any::<bool>(), any::<bool>(), 1u16..60_000).prop_map(|(number, v6, gateway, port_base)| {
        let address = |text: String| AnchorEndpoint { address: text.parse().unwrap() };
        let mut endpoints = vec![address(format!("203.0.113.{number}"))];
        endpoints.extend(v6.then(|| address(format!("2001:db8:c::{number}"))));
        AnchorSpec {
            endpoints,
            port_base,
            internet: InternetInterface {
                interface: "inet0".to_owned(),
                addresses: vec![format!("198.51.{number}.1/24").parse().unwrap(), "2001:db8:51::1/64".parse().unwrap()],
                gateways: gateway.then(|| format!("198.51.{number}.254").parse().unwrap()).into_iter().collect(),
            },
            egress: Egress::Routed,
        }
    })
}

fn site() -> impl Strategy<Value = SiteSpec> {
    let names: Vec<String> = ANCHORS.iter().map(|name| (*name).to_owned()).collect();
    let anchors = subsequence(names, 1..=2).prop_shuffle();
    (anchors, vec(prefix(), 1..=2), vec(1u8..=9, 0..=2)).prop_map(|(anchors, prefixes, vips)| {
        let vip = |number: u8| match number % 2 {
            0 => format!("198.18.0.{number}").parse().unwrap(),
            _ => format!("2001:db8:ff::{number}").parse().unwrap(),
        };
        SiteSpec { anchors, vips: vips.into_iter().map(vip).collect(), prefixes }
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

fn uplink() -> impl Strategy<Value = UplinkSpec> {
    let addresses = prop_oneof![
        3 => Just(AddressMethod::Dhcp),
        1 => (1u8..=9).prop_map(|net| AddressMethod::Static {
            addresses: vec![format!("100.64.{net}.2/24").parse().unwrap()],
            gateways: vec![format!("100.64.{net}.1").parse().unwrap()],
        }),
        1 => Just(AddressMethod::Static { addresses: vec!["2001:db8:f1::2/64".parse().unwrap()], gateways: vec![] }),
    ];
    (1u8..=8, 1u8..=9, addresses, 0u16..4).prop_map(|(slot, number, address, cost)| UplinkSpec {
        slot,
        kind: UplinkKind::Ethernet,
        interface: format!("wan{number}"),
        attach: Attach::Move,
        address,
        cost,
    })
}

fn vlan() -> impl Strategy<Value = VlanSpec> {
    (0u8..=15, any::<bool>()).prop_map(|(net, shares)| VlanSpec {
        interface: if shares { "wan1" } else { "lan0" }.to_owned(),
        addresses: vec![format!("172.16.{net}.1/24").parse().unwrap()],
        treatment: Treatment::Survivable,
    })
}

/// Sites, among them some that may not exist.
fn sites() -> impl Strategy<Value = Vec<String>> {
    let names: Vec<String> = SITES.iter().map(|name| (*name).to_owned()).collect();
    subsequence(names, 0..=2)
}

fn policy() -> impl Strategy<Value = TrafficPolicySpec> {
    let class = select(vec!["default", "voice", "bulk", "video"]);
    (sites(), 0u16..3, 0u8..64, class, any::<bool>()).prop_map(|(sites, priority, dscp, class, ports)| {
        let by_port = Match {
            protocol: Some(Protocol::Udp),
            ports: vec![PortRange { first: 5_060, last: 5_060 + u16::from(dscp) }],
            ..Match::default()
        };
        let by_code = Match { dscp: Some(dscp), ..Match::default() };
        TrafficPolicySpec {
            sites,
            priority,
            matches: vec![if ports { by_port } else { by_code }],
            treatment: Treatment::Survivable,
            steering_class: class.to_owned(),
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
