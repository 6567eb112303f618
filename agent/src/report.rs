//! The node's report, put together from what the tasks know.

use std::{collections::BTreeMap, net::IpAddr};

use pathsteer_agent_core::{History, Lender, Resolvers, Since, Turn, asked_for};
use pathsteer_crds::{
    plan::{AddressSpec, DhcpSpec, Family, LinkKind, LinkSpec, NodePlan, PathSpec, PlanObjects, RouteSpec},
    report::{
        CounterReport, FollowingReport, Moment, NodeReport, ProblemReport, SteeringReport, TunnelReport, UplinkReport,
    },
};
use pathsteer_wireguard::WorkerStatus;

use crate::{VERSION, drivers::datapath::Shim, ground::Seen, lease_book::LeaseBook, problems::Problem};

/// Everything a report is made of.
pub struct Sources<'a> {
    pub plan: &'a NodePlan,
    pub desired: &'a PlanObjects,
    pub leases: &'a LeaseBook,
    /// By the namespace of the uplink.
    pub resolvers: &'a BTreeMap<String, Resolvers>,
    pub seen: &'a Seen,
    pub turn: &'a Turn,
    pub history: &'a History,
    /// What was told of; what is seen here is added.
    pub problems: Vec<ProblemReport>,
    pub workers: &'a BTreeMap<u8, WorkerStatus>,
    pub steering: Vec<SteeringReport>,
    pub following: Vec<FollowingReport>,
    pub counters: Vec<CounterReport>,
    pub segmentation: &'a str,
}

/// The report, without since when what is wrong has been so.
pub fn report(sources: Sources) -> NodeReport {
    let Sources {
        plan,
        desired,
        leases,
        resolvers,
        seen,
        turn,
        history,
        mut problems,
        workers,
        steering,
        following,
        counters,
        segmentation,
    } = sources;
    let (drift, drift_repaired) = history.drift();
    problems.extend(without_lease(plan, leases));
    problems.extend(broken_tunnels(workers));
    NodeReport {
        node: plan.node.clone(),
        agent_version: VERSION.to_owned(),
        store_epoch: plan.store_epoch,
        generation: plan.generation,
        verified: turn.verified(),
        uptime_seconds: 0,
        not_as_declared: turn.not_as_declared.clone(),
        problems,
        last_changes: history.last().cloned(),
        drift_repaired,
        drift,
        uplinks: plan.objects.paths.iter().filter_map(|path| uplink(path, plan, leases, resolvers, seen)).collect(),
        tunnels: tunnels(desired, workers),
        steering,
        following,
        counters,
        segmentation: segmentation.to_owned(),
    }
}

/// Fills in since when everything in `report` that is wrong has been so. A report by a turn that could not observe is not
/// `whole`: of what it does not name nothing is known.
pub fn date(report: &mut NodeReport, since: &mut Since, whole: bool, now: &Moment) {
    let of = |problem: &ProblemReport| format!("{} {}", problem.kind, problem.object);
    let objects = report.not_as_declared.iter().map(|object| object.object.clone());
    since.look(objects.chain(report.problems.iter().map(of)), whole, now);
    for object in &mut report.not_as_declared {
        object.since = since.of(&object.object);
    }
    for problem in &mut report.problems {
        problem.since = since.of(&of(problem));
    }
    report.uptime_seconds = now.since_uptime;
}

/// Having no lease is a state of the uplink: nothing of the plan is wrong for it.
fn without_lease(plan: &NodePlan, leases: &LeaseBook) -> Vec<ProblemReport> {
    let lent = |dhcp: &&DhcpSpec| asked_for(dhcp, leases.held()).any(|(_, lease)| lease.address.is_some());
    let without = plan.objects.dhcp.iter().filter(|dhcp| dhcp.ipv4 && !lent(dhcp));
    let told = without.map(|dhcp| {
        let never =
            || format!("no DHCP server has lent {} an address yet: is the cable in, and a server there?", dhcp.link);
        Problem::Lease(dhcp.slot).report(leases.trouble(dhcp).unwrap_or_else(never))
    });
    told.collect()
}

/// Why a device that the plan has is not as declared, in its worker's words.
fn broken_tunnels(workers: &BTreeMap<u8, WorkerStatus>) -> Vec<ProblemReport> {
    let devices = workers.values().flat_map(|worker| worker.devices.iter().map(|device| (worker.slot, device)));
    let told = devices
        .filter_map(|(slot, device)| Some(Problem::Tunnel(slot, device.link.clone()).report(device.problem.clone()?)));
    told.collect()
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
pub fn tunnels(desired: &PlanObjects, workers: &BTreeMap<u8, WorkerStatus>) -> Vec<TunnelReport> {
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

pub fn following(shim: &Shim) -> Vec<FollowingReport> {
    let learned = shim.lock().maps.learned().unwrap_or_default();
    let followed = learned.into_iter().map(|((remote, class), learned)| FollowingReport {
        remote,
        class,
        active: learned.active,
        copies: (1..=8).filter(|slot| learned.copies & (1 << (slot - 1)) != 0).collect(),
    });
    followed.collect()
}

/// What of `fresh` is worth telling to somebody who was told `told`: byte counts, packet counts and handshake ages stay as
/// they were unless `quiet` time enough has passed or something else about them changed. None if nothing is worth it.
pub fn news(told: Option<&NodeReport>, mut fresh: NodeReport, quiet: bool) -> Option<NodeReport> {
    let Some(told) = told else { return Some(fresh) };
    if !quiet && still(&fresh.tunnels) == still(&told.tunnels) {
        fresh.tunnels.clone_from(&told.tunnels);
    }
    if !quiet && names(&fresh.counters) == names(&told.counters) {
        fresh.counters.clone_from(&told.counters);
    }
    let uptime = std::mem::replace(&mut fresh.uptime_seconds, told.uptime_seconds);
    let changed = *told != fresh;
    fresh.uptime_seconds = uptime;
    changed.then_some(fresh)
}

/// Tunnels without what grows by itself. A handshake that is too old to count is a change.
fn still(tunnels: &[TunnelReport]) -> Vec<TunnelReport> {
    let still = |tunnel: &TunnelReport| TunnelReport {
        handshake_age_seconds: tunnel.is_up().then_some(0),
        rx_bytes: 0,
        tx_bytes: 0,
        ..tunnel.clone()
    };
    tunnels.iter().map(still).collect()
}

/// What is counted: a reason for which a packet was never refused before is news.
fn names(counters: &[CounterReport]) -> Vec<(&str, &str, u32)> {
    counters.iter().map(|counter| (&*counter.name, &*counter.place, counter.remote)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pathsteer_agent_core::{Lease, bootstrap_plan};

    use super::*;
    use crate::{drivers::dhcp::News, state::StateDir, sys::clock};

    fn tunnel(age: Option<u64>, rx_bytes: u64) -> TunnelReport {
        let (link, peer) = ("psw1a1".into(), "dal-a".into());
        TunnelReport { slot: 1, link, peer, handshake_age_seconds: age, endpoint: None, rx_bytes, tx_bytes: 0 }
    }

    fn report(age: Option<u64>, rx_bytes: u64, uptime_seconds: u64) -> NodeReport {
        NodeReport { tunnels: vec![tunnel(age, rx_bytes)], uptime_seconds, ..NodeReport::default() }
    }

    #[test]
    fn what_grows_by_itself_is_no_news_until_it_was_quiet_for_long_enough() {
        let told = report(Some(5), 100, 1_000);
        assert_eq!(news(None, told.clone(), false), Some(told.clone()));
        assert_eq!(news(Some(&told), report(Some(90), 900, 1_100), false), None);
        let later = report(Some(90), 900, 1_100);
        assert_eq!(news(Some(&told), later.clone(), true), Some(later));
        assert_eq!(news(Some(&told), report(Some(5), 100, 1_100), true), None, "an uptime alone is no news");
    }

    #[test]
    fn a_handshake_that_counts_no_longer_is_news_at_once() {
        let told = report(Some(5), 100, 1_000);
        for (age, is_news) in [(Some(180), false), (Some(181), true), (None, true)] {
            assert_eq!(news(Some(&told), report(age, 100, 1_000), false).is_some(), is_news, "{age:?}");
        }
    }

    #[test]
    fn beside_news_what_grows_by_itself_stays_as_it_was_told() {
        let told = report(Some(5), 100, 1_000);
        let fresh = NodeReport { generation: 9, ..report(Some(6), 200, 1_001) };
        let expected = NodeReport { generation: 9, uptime_seconds: 1_001, ..told.clone() };
        assert_eq!(news(Some(&told), fresh, false), Some(expected));
    }

    #[test]
    fn an_uplink_without_a_lease_and_a_device_that_does_not_work_are_problems_of_their_slots() {
        let of = |slot| (format!("psup{slot}"), format!("wan{slot}"));
        let dhcp = |slot| DhcpSpec { slot, netns: of(slot).0, link: of(slot).1, ipv4: true, ipv6: false };
        let objects = PlanObjects { dhcp: vec![dhcp(1), dhcp(2)], ..PlanObjects::default() };
        let plan = NodePlan { objects, ..bootstrap_plan("rv-07", &BTreeMap::new()) };
        let folder = tempfile::tempdir().unwrap();
        let mut leases = LeaseBook::open(StateDir::open(folder.path()).unwrap());
        let lease = Lease {
            address: Some("192.0.2.50/24".parse().unwrap()),
            expires: clock::since_boot() + Duration::from_secs(3_600),
            gateway: None,
            resolvers: Vec::new(),
            captive_portal: None,
        };
        leases.take(News { slot: 1, lender: Lender::Dhcpv4, lease: Some(lease) });
        let found = without_lease(&plan, &leases);
        let [problem] = &found[..] else { panic!("one: {found:?}") };
        assert_eq!((&*problem.kind, problem.slot), ("NoLease", Some(2)));
        let mut report = NodeReport { problems: found, ..NodeReport::default() };
        let (mut since, then) = (Since::default(), Moment { since: "x".into(), since_uptime: 7 });
        date(&mut report, &mut since, true, &then);
        let now = Moment { since: "y".into(), since_uptime: 9 };
        date(&mut report, &mut since, true, &now);
        assert_eq!((&report.problems[0].since, report.uptime_seconds), (&then, 9));
    }
}
