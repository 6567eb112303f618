//! The node's report, put together from what the tasks know.

use std::{collections::BTreeMap, net::IpAddr};

use pathsteer_agent_core::{Lender, Resolvers, Turn, asked_for};
use pathsteer_crds::{
    plan::{AddressSpec, Family, LinkKind, LinkSpec, NodePlan, PathSpec, PlanObjects, RouteSpec},
    report::{FollowingReport, NodeReport, SteeringReport, TunnelReport, UplinkReport},
};
use pathsteer_wireguard::WorkerStatus;

use crate::{VERSION, counters::counters, drivers::datapath::Shim, lease_book::LeaseBook, reconcile::Seen};

/// Everything a report is made of.
pub struct Sources<'a> {
    pub plan: &'a NodePlan,
    pub desired: &'a PlanObjects,
    pub leases: &'a LeaseBook,
    /// By the namespace of the uplink.
    pub resolvers: &'a BTreeMap<String, Resolvers>,
    pub seen: &'a Seen,
    pub turn: &'a Turn,
    pub drift: u64,
    pub workers: &'a BTreeMap<u8, WorkerStatus>,
    pub steering: Vec<SteeringReport>,
    pub shim: Option<&'a Shim>,
    pub segmentation: &'a str,
}

/// The report.
pub fn report(sources: Sources) -> NodeReport {
    let Sources { plan, desired, leases, resolvers, seen, turn, drift, workers, steering, shim, segmentation } =
        sources;
    NodeReport {
        node: plan.node.clone(),
        agent_version: VERSION.to_owned(),
        store_epoch: plan.store_epoch,
        generation: plan.generation,
        verified: turn.verified(),
        not_as_declared: turn.not_as_declared.clone(),
        drift_repaired: drift,
        uplinks: plan.objects.paths.iter().filter_map(|path| uplink(path, plan, leases, resolvers, seen)).collect(),
        tunnels: tunnels(desired, workers),
        steering,
        following: shim.map(following).unwrap_or_default(),
        counters: counters(shim, &seen.tallies, workers),
        segmentation: segmentation.to_owned(),
    }
}

/// Its address is what it was lent, else what a router advertised, else what is declared.
fn uplink(
    path: &PathSpec,
    plan: &NodePlan,
    leases: &LeaseBook,
    resolvers: &BTreeMap<String, Resolvers>,
    seen: &Seen,
) -> Option<UplinkReport> {
    let card = |link: &&LinkSpec| link.netns == path.netns && link.kind == LinkKind::Nic;
    let Some(link) = plan.objects.links.iter().find(card).map(|link| &link.name) else {
        return in_place(path, plan, resolvers, seen);
    };
    let on_it = |address: &&AddressSpec| (&address.netns, &address.link) == (&path.netns, link);
    let dhcp = plan.objects.dhcp.iter().find(|dhcp| dhcp.slot == path.slot);
    let lent: BTreeMap<_, _> = dhcp.into_iter().flat_map(|dhcp| asked_for(dhcp, leases.held())).collect();
    let lease = lent.values().find(|lease| lease.address.is_some());
    let elsewhere = seen.advertised.iter().chain(&plan.objects.addresses).find(on_it).map(|found| found.address);
    let address = lease.and_then(|lease| lease.address).or(elsewhere);
    let family = if address.is_some_and(|address| address.addr().is_ipv6()) { Family::Ipv6 } else { Family::Ipv4 };
    let default = seen.defaults.get(&(path.netns.clone(), family)).copied().flatten();
    let gateway = if lent.contains_key(&Lender::Dhcpv4) { lease.and_then(|lease| lease.gateway) } else { default };
    Some(UplinkReport {
        slot: path.slot,
        link: link.clone(),
        address: address.map(|address| address.to_string()),
        gateway: gateway.map(|gateway| gateway.to_string()),
        resolvers: words(resolvers.get(&path.netns)),
        captive_portal: lent.values().find_map(|lease| lease.captive_portal.clone()),
        trouble: dhcp.and_then(|dhcp| leases.trouble(dhcp)),
    })
}

/// Of an uplink whose card stays in the node's own namespace. Its address is the node's own affair.
fn in_place(
    path: &PathSpec,
    plan: &NodePlan,
    resolvers: &BTreeMap<String, Resolvers>,
    seen: &Seen,
) -> Option<UplinkReport> {
    let by = |route: &RouteSpec| if route.netns == path.netns { route.while_host_default.clone() } else { None };
    let link = plan.objects.routes.iter().find_map(by)?;
    let gateway = seen.host_defaults.get(&(link.clone(), Family::Ipv4)).copied().flatten();
    let gateway = gateway.map(|gateway| gateway.to_string());
    Some(UplinkReport {
        slot: path.slot,
        link,
        gateway,
        resolvers: words(resolvers.get(&path.netns)),
        ..UplinkReport::default()
    })
}

fn words(resolvers: Option<&Resolvers>) -> Vec<String> {
    resolvers.into_iter().flat_map(|resolvers| &resolvers.addresses).map(IpAddr::to_string).collect()
}

/// One per declared peer, whether its worker knows it or not.
fn tunnels(desired: &PlanObjects, workers: &BTreeMap<u8, WorkerStatus>) -> Vec<TunnelReport> {
    let mut all = Vec::new();
    for device in &desired.wireguard_devices {
        let found = workers.get(&device.slot).and_then(|w| w.devices.iter().find(|found| found.link == device.link));
        for peer in desired.wireguard_peers.iter().filter(|peer| peer.link == device.link) {
            let status = found.and_then(|found| found.peers.iter().find(|status| status.public_key == peer.public_key));
            all.push(TunnelReport {
                slot: device.slot,
                link: device.link.clone(),
                peer: peer.node.clone(),
                handshake_age_seconds: status.and_then(|status| status.handshake_age_seconds),
                endpoint: status.and_then(|status| status.endpoint).map(|endpoint| endpoint.to_string()),
                rx_bytes: status.map_or(0, |status| status.rx_bytes),
                tx_bytes: status.map_or(0, |status| status.tx_bytes),
            });
        }
    }
    all
}

fn following(shim: &Shim) -> Vec<FollowingReport> {
    let learned = shim.lock().maps.learned().unwrap_or_default();
    let followed = learned.into_iter().map(|((remote, class), learned)| FollowingReport {
        remote,
        class,
        active: learned.active,
        copies: (1..=8).filter(|slot| learned.copies & (1 << (slot - 1)) != 0).collect(),
    });
    followed.collect()
}

/// Whether two reports differ in more than what grows by itself.
pub fn differ(a: &NodeReport, b: &NodeReport) -> bool {
    let still = |report: &NodeReport| {
        let mut report = report.clone();
        for tunnel in &mut report.tunnels {
            tunnel.handshake_age_seconds = tunnel.handshake_age_seconds.map(|_| 0);
            (tunnel.rx_bytes, tunnel.tx_bytes) = (0, 0);
        }
        report.counters.iter_mut().for_each(|counter| counter.packets = 0);
        report
    };
    still(a) != still(b)
}
