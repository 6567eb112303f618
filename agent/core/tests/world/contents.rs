//! What a random plan puts on its links and into its namespaces.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::plan::{
    AddressSpec, Behind, CopyTarget, DatapathSpec, Family, LinkKind, LinkSpec, NeighbourSpec, NftRule, NftTableSpec,
    PlanObjects, PrefixSpec, Program, ProgramSpec, RemoteSpec, Role, RouteKind, RouteSpec, RuleAction, RuleSpec,
    WireguardDeviceSpec, WireguardPeerSpec,
};

use super::Dice;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(super) fn on_links(plan: &mut PlanObjects, dice: &mut Dice) {
    for LinkSpec { netns, name, .. } in &plan.links {
        for address in ["10.1.0.1/24", "10.2.0.1/24", "fd00::1/64"] {
            if dice.one_in(3) {
                plan.addresses.push(AddressSpec { netns: netns.clone(), link: name.clone(), address: net(address) });
            }
        }
        if dice.one_in(3) {
            let mac = ["02:70:73:00:00:02", "02:70:73:00:00:03"][usize::from(dice.throw(2))].to_owned();
            let address = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
            plan.neighbours.push(NeighbourSpec { netns: netns.clone(), link: name.clone(), address, mac });
        }
    }
}

pub(super) fn of_the_datapath(plan: &mut PlanObjects, dice: &mut Dice) {
    let Some(netns) = dice.pick(&plan.netns).filter(|_| !dice.one_in(4)) else { return };
    plan.datapath.push(DatapathSpec {
        netns: netns.name,
        role: [Role::Edge, Role::Anchor][usize::from(dice.one_in(5))],
        address: Ipv4Addr::new(10, 100, 0, 1 + dice.throw(2)),
        probe_base: Ipv4Addr::new(10, 100, 128, 16 * dice.throw(2)),
        window_packets: [16_384, 1_024][usize::from(dice.one_in(5))],
    });
    for id in 1..=3 {
        if dice.throw(2) == 0 {
            plan.remotes.push(RemoteSpec {
                id,
                node: format!("site-{id}"),
                address: Ipv4Addr::new(10, 100, 1, id as u8),
                anchor: 0,
                identity: dice.throw(2).into(),
                slots: (1..=1 + dice.throw(2)).collect(),
                classes: (1..=1 + dice.throw(3)).collect(),
            });
        }
    }
    for prefix in ["10.9.0.0/16", "10.8.0.0/16", "fd09::/48"] {
        if dice.throw(3) != 2 {
            let nobody = [Behind::Nowhere, Behind::Own][usize::from(dice.throw(2))];
            let remote = dice.pick(&plan.remotes).filter(|_| !dice.one_in(4));
            let behind = remote.map_or(nobody, |remote| Behind::Remote(remote.id));
            plan.prefixes.push(PrefixSpec { prefix: net(prefix), behind });
        }
    }
    for LinkSpec { netns, name, .. } in &plan.links {
        if dice.one_in(3) {
            let program = [Program::Encap, Program::DecapEthernet, Program::DecapIp][usize::from(dice.throw(3))];
            plan.programs.push(ProgramSpec { netns: netns.clone(), link: name.clone(), program, slot: dice.throw(3) });
        }
    }
}

pub(super) fn of_wireguard(plan: &mut PlanObjects, dice: &mut Dice) {
    // Names of TUNs repeat over namespaces here; those of devices are unique in a node.
    let mut taken = Vec::new();
    for LinkSpec { netns, name, .. } in plan.links.iter().filter(|link| link.kind == LinkKind::Tunnel) {
        let Some(underlay) = dice.pick(&plan.netns) else { continue };
        if dice.one_in(4) || taken.contains(name) {
            continue;
        }
        taken.push(name.clone());
        plan.wireguard_devices.push(WireguardDeviceSpec {
            slot: 1 + dice.throw(2),
            netns: netns.clone(),
            link: name.clone(),
            underlay_netns: underlay.name,
            listen_port: 51_821 + u16::from(dice.throw(2)),
        });
        let mut peers = ["A", "B", "C"].map(|key| WireguardPeerSpec {
            link: name.clone(),
            public_key: key.into(),
            node: format!("node of {key}"),
            endpoint: [None, Some("203.0.113.10:51821".parse().expect("an endpoint"))][usize::from(dice.throw(2))],
            allowed_ips: Vec::new(),
            keepalive_seconds: u16::from(dice.throw(2)) * 25,
        });
        for last in 1..=4 {
            let allowed = Ipv4Net::from(Ipv4Addr::new(10, 100, 1, last));
            peers[usize::from(dice.throw(3))].allowed_ips.push(allowed);
        }
        plan.wireguard_peers.extend(peers.into_iter().filter(|_| !dice.one_in(3)));
    }
}

pub(super) fn routing(plan: &mut PlanObjects, dice: &mut Dice) {
    for netns in plan.netns.clone() {
        let netns = netns.name;
        let links: Vec<String> = plan.links.iter().filter(|l| l.netns == netns).map(|l| l.name.clone()).collect();
        let addresses: Vec<AddressSpec> = plan.addresses.iter().filter(|a| a.netns == netns).cloned().collect();
        for table in [254, 7_717, 7_718] {
            if dice.one_in(3) {
                continue;
            }
            let mut route = |destination: &str, metric, kind| {
                let mtu = [None, Some(1_308)][usize::from(metric == 101)];
                plan.routes.push(RouteSpec { mtu, ..RouteSpec::new(&netns, table, net(destination), metric, kind) });
            };
            route("0.0.0.0/0", 1_000, RouteKind::Blackhole);
            for (destination, metric) in [("0.0.0.0/0", 10), ("0.0.0.0/0", 101), ("10.9.0.0/16", 10)] {
                let source = dice.pick(&addresses).filter(|_| dice.one_in(3)).map(|address| address.address.addr());
                let by_gateway = dice.pick(&addresses).filter(|address| address.address.addr().is_ipv4());
                match (dice.throw(5), by_gateway, dice.pick(&links)) {
                    (4, _, Some(link)) if metric == 10 => {
                        let gateway = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
                        let there = RouteKind::Unicast { link: link.clone(), gateway: None, source: None };
                        route("192.0.2.1/32", u32::from(destination != "0.0.0.0/0"), there);
                        route(destination, metric, RouteKind::Unicast { link, gateway, source });
                    }
                    (0, Some(AddressSpec { link, address, .. }), _) => {
                        let gateway = address.hosts().nth(1);
                        route(destination, metric, RouteKind::Unicast { link, gateway, source });
                    }
                    (1 | 2, _, Some(link)) => {
                        route(destination, metric, RouteKind::Unicast { link, gateway: None, source });
                    }
                    (3, ..) => route(destination, metric, RouteKind::Blackhole),
                    _ => {}
                }
            }
            if table != 254 && dice.throw(3) != 2 {
                let family = Family::BOTH[usize::from(dice.throw(2))];
                let fwmark = Some((u32::from(dice.throw(2)) << 8, 0x000f_0f00));
                let netns = netns.clone();
                let action = RuleAction::Table(table);
                plan.rules.push(RuleSpec { netns, family, priority: table, fwmark, iif: None, action });
                // Of one priority, for different links.
                let by_link = RuleSpec { fwmark: None, ..plan.rules[plan.rules.len() - 1].clone() };
                for iif in ["lan0", "psq30"] {
                    if dice.one_in(3) {
                        plan.rules.push(RuleSpec { iif: Some(iif.into()), ..by_link.clone() });
                    }
                }
            }
        }
    }
}

pub(super) fn nft(plan: &mut PlanObjects, dice: &mut Dice) {
    for netns in &plan.netns {
        let mut rules = vec![NftRule::DefaultClass { class: 1 + dice.throw(2) }];
        for (slot, link) in (1..).zip(plan.links.iter().filter(|link| link.netns == netns.name)) {
            if dice.one_in(3) {
                let to = CopyTarget::Destination;
                rules.push(NftRule::Copy { slot, link: link.name.clone(), to, budget: None });
            }
        }
        if dice.throw(3) != 2 {
            plan.nft_tables.push(NftTableSpec::new(&netns.name, rules));
        }
    }
}
