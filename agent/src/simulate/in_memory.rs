//! The ground of a simulated node: a kernel in memory that has whatever card a plan names and whose tunnels always have a
//! session. Nobody else changes anything there, nothing is lent, no packet flows.

use std::collections::BTreeMap;

use pathsteer_agent_core::{Active, Change, Outcome, Resolvers, Worker, kernel::Kernel, switch::Avoid};
use pathsteer_crds::{
    identity::NodeIdentity,
    plan::{Family, LinkKind, MAIN_TABLE, NodePlan, PlanObjects, RouteKind},
    report::{CounterReport, FollowingReport, SteeringReport},
};
use pathsteer_wireguard::{DeviceStatus, PeerStatus, WorkerStatus};

use crate::{
    drivers::{
        nft::Tallies,
        route::{Defaults, HostDefaults},
    },
    ground::{Calls, Ground},
    observe::Observed,
    sys::KernelError,
};

/// The kernel of one node.
pub struct InMemory {
    kernel: Kernel,
    /// The node's public keys by slot.
    keys: BTreeMap<u8, String>,
    calls: Calls,
    /// As its devices and peers are.
    workers: BTreeMap<u8, WorkerStatus>,
}

impl InMemory {
    /// An empty one.
    pub fn new(identity: &NodeIdentity) -> Self {
        let keys = identity.wireguard_keys.clone();
        InMemory { kernel: Kernel::default(), keys, calls: Calls::default(), workers: BTreeMap::new() }
    }

    /// Plugs in what `desired` names and is nowhere yet.
    fn plug(&mut self, desired: &PlanObjects) {
        let held = self.kernel.objects();
        let cards = desired.links.iter().filter(|link| link.kind == LinkKind::Nic);
        let missing = cards.filter(|card| !held.links.iter().any(|link| link.name == card.name));
        let missing: Vec<String> = missing.map(|card| card.name.clone()).collect();
        self.kernel.cards.extend(missing);
    }

    /// As the kernel's own WireGuard would tell of its devices.
    fn tunnels(&self) -> BTreeMap<u8, WorkerStatus> {
        let held = self.kernel.objects();
        let mut peers: BTreeMap<&str, Vec<PeerStatus>> = BTreeMap::new();
        for peer in &held.wireguard_peers {
            peers.entry(&peer.link).or_default().push(PeerStatus {
                public_key: peer.public_key.clone(),
                endpoint: peer.endpoint,
                handshake_age_seconds: Some(0),
                rx_bytes: 0,
                tx_bytes: 0,
                allowed_ips: peer.allowed_ips.clone(),
                keepalive_seconds: peer.keepalive_seconds,
            });
        }
        let mut workers = BTreeMap::new();
        for device in &held.wireguard_devices {
            let worker = workers.entry(device.slot).or_insert_with(|| WorkerStatus {
                slot: device.slot,
                pid: 0,
                version: pathsteer_wireguard::version(),
                config_digest: String::new(),
                public_key: self.keys.get(&device.slot).cloned().unwrap_or_default(),
                devices: Vec::new(),
                rejected: 0,
            });
            worker.devices.push(DeviceStatus {
                netns: device.netns.clone(),
                link: device.link.clone(),
                listen_port: device.listen_port,
                problem: None,
                peers: peers.remove(&*device.link).unwrap_or_default(),
            });
        }
        workers
    }
}

impl Ground for InMemory {
    type Kernel = ();

    fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn open(&mut self, _: &NodePlan) -> Result<(), KernelError> {
        Ok(())
    }

    async fn ways(&self, (): &(), plan: &NodePlan) -> Result<(Defaults, HostDefaults), KernelError> {
        let is_uplink = |netns: &str| plan.objects.paths.iter().any(|path| path.netns == netns);
        let mut defaults = Defaults::new();
        for route in &self.kernel.objects().routes {
            if let RouteKind::Unicast { gateway, .. } = &route.kind
                && (route.table, route.destination.prefix_len()) == (MAIN_TABLE, 0)
                && is_uplink(&route.netns)
            {
                defaults.insert((route.netns.clone(), Family::of(route.destination.addr())), *gateway);
            }
        }
        Ok((defaults, HostDefaults::new()))
    }

    async fn look(
        &mut self,
        (): &(),
        _: &BTreeMap<u8, WorkerStatus>,
        desired: &PlanObjects,
    ) -> Result<Observed, KernelError> {
        let objects = self.kernel.observe(desired);
        Ok(Observed { objects, advertised: Vec::new(), tallies: Tallies::default() })
    }

    async fn apply(&mut self, (): &mut (), changes: Vec<Change>, desired: &PlanObjects) -> Vec<Outcome> {
        self.plug(desired);
        let mut outcomes = Vec::new();
        for change in changes {
            let failure = self.kernel.apply(&change).err();
            if let Some(why) = &failure {
                tracing::warn!(why, "failed");
            }
            outcomes.push(Outcome { change, failure });
        }
        self.workers = self.tunnels();
        outcomes
    }

    async fn settle(&mut self, _: &NodePlan, _: &BTreeMap<String, Resolvers>) {}

    fn listen(&mut self, _: bool) -> bool {
        false
    }

    fn is_lost(&self, _: &PlanObjects) -> bool {
        false
    }

    fn tallies(&self) -> Result<Tallies, KernelError> {
        Ok(Tallies::default())
    }

    fn workers(&self) -> BTreeMap<u8, WorkerStatus> {
        self.workers.clone()
    }

    fn hear(&mut self, _: &BTreeMap<u8, WorkerStatus>) {}

    fn hurry(&self, _: u8) {}

    fn to_renew(&self, _: &BTreeMap<u8, WorkerStatus>) -> Option<BTreeMap<u8, Worker>> {
        None
    }

    fn renew(&mut self, _: &BTreeMap<u8, Worker>, _: &Active) -> bool {
        false
    }

    fn renewed(&self) -> Option<u8> {
        None
    }

    fn steer(&mut self, _: &PlanObjects, _: Avoid) {}

    fn steering(&self) -> Vec<SteeringReport> {
        Vec::new()
    }

    fn following(&self) -> Vec<FollowingReport> {
        Vec::new()
    }

    fn counters(&self, _: &Tallies, _: &BTreeMap<u8, WorkerStatus>) -> Vec<CounterReport> {
        Vec::new()
    }
}
