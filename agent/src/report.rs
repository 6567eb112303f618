//! The node's report, put together from what the tasks know.

use std::collections::BTreeMap;

use pathsteer_agent_core::{Lease, Turn};
use pathsteer_crds::{
    plan::{NodePlan, PlanObjects},
    report::{FollowingReport, NodeReport, SteeringReport, TunnelReport, UplinkReport},
};
use pathsteer_wireguard::WorkerStatus;

use crate::{VERSION, drivers::datapath::Shim};

/// Everything a report is made of.
pub struct Sources<'a> {
    pub plan: &'a NodePlan,
    pub desired: &'a PlanObjects,
    pub leases: &'a BTreeMap<u8, Lease>,
    pub turn: &'a Turn,
    pub drift: u64,
    pub workers: &'a BTreeMap<u8, WorkerStatus>,
    pub steering: Vec<SteeringReport>,
    pub shim: Option<&'a Shim>,
}

/// The report.
pub fn report(sources: Sources) -> NodeReport {
    let Sources { plan, desired, leases, turn, drift, workers, steering, shim } = sources;
    NodeReport {
        node: plan.node.clone(),
        agent_version: VERSION.to_owned(),
        store_epoch: plan.store_epoch,
        generation: plan.generation,
        verified: turn.verified(),
        not_as_declared: turn.not_as_declared.clone(),
        drift_repaired: drift,
        uplinks: uplinks(plan, leases),
        tunnels: tunnels(desired, workers),
        steering,
        following: shim.map(following).unwrap_or_default(),
    }
}

fn uplinks(plan: &NodePlan, leases: &BTreeMap<u8, Lease>) -> Vec<UplinkReport> {
    let dhcp = plan.objects.dhcp.iter();
    dhcp.map(|spec| {
        let lease = leases.get(&spec.slot);
        UplinkReport {
            slot: spec.slot,
            link: spec.link.clone(),
            address: lease.map(|lease| lease.address.to_string()),
            gateway: lease.and_then(|lease| lease.gateway).map(|gateway| gateway.to_string()),
        }
    })
    .collect()
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
        report
    };
    still(a) != still(b)
}
