//! The reconcile loop: wake up, observe, plan, apply, verify, report. A turn never fails; it has an outcome.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pathsteer_agent_core::{Lease, Turn, changes, desired, drift};
use pathsteer_crds::{
    ownership,
    plan::{NodePlan, PlanObjects, Role},
    report::{NodeReport, ObjectReport, SteeringReport},
};
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    apply::Applier,
    drivers::{Kernel, datapath::Shim, dhcp::Dhcp, wireguard::Wireguard},
    observe::observe,
    report::{self, Sources},
    state::StateDir,
    steering::{self, Orders},
    sys::{KernelError, monitor::Monitor, netns::Netns},
};

/// Where workers and locks live while the node runs.
pub const RUN_DIR: &str = "/run/pathsteer";
/// A turn without a notification: notifications can be lost, and some state has none.
const RESYNC: Duration = Duration::from_secs(30);
/// At most this many times a turn applies and looks again; what takes more is reported and tried next turn.
const PASSES: usize = 4;
/// Notifications come in bursts, our own changes among them: so long a burst is taken as one.
const SETTLE: Duration = Duration::from_millis(20);
/// Tunnels are looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// A report in which only byte counts and handshake ages have changed waits this long.
const QUIET_REPORT: Duration = Duration::from_secs(10);

/// The agent's reconciler.
pub struct Reconciler {
    state: StateDir,
    plan: NodePlan,
    /// Set once the plan comes from an operator: only then may anything be deleted.
    complete: bool,
    leases: BTreeMap<u8, Lease>,
    dhcp: Dhcp,
    wireguard: Wireguard,
    shim: Option<Shim>,
    steering: Option<Steering>,
    monitors: BTreeMap<String, tokio::task::JoinHandle<()>>,
    changed: Arc<Notify>,
    /// What the last turn saw in force; absent if it was not as declared.
    verified: Option<PlanObjects>,
    drift: u64,
    reports: watch::Sender<Option<NodeReport>>,
    reported: Instant,
}

struct Steering {
    orders: mpsc::UnboundedSender<Orders>,
    reports: watch::Receiver<Vec<SteeringReport>>,
    last: Orders,
}

impl Reconciler {
    /// Begins with the last good plan, or the bootstrap plan if there is none.
    ///
    /// # Errors
    /// The binary's own path cannot be told.
    pub fn new(
        state: StateDir,
        plan: NodePlan,
        leases: mpsc::UnboundedSender<(u8, Lease)>,
        reports: watch::Sender<Option<NodeReport>>,
    ) -> io::Result<Self> {
        let wireguard = Wireguard::new(Path::new(RUN_DIR).join("wireguard"), state.clone())?;
        Ok(Reconciler {
            complete: plan.generation != 0,
            leases: state.leases(),
            plan,
            dhcp: Dhcp::new(leases),
            wireguard,
            shim: None,
            steering: None,
            monitors: BTreeMap::new(),
            changed: Arc::new(Notify::new()),
            verified: None,
            drift: 0,
            reports,
            reported: Instant::now(),
            state,
        })
    }

    /// Turns until the process ends.
    pub async fn run(
        mut self,
        mut plans: watch::Receiver<Option<NodePlan>>,
        mut leases: mpsc::UnboundedReceiver<(u8, Lease)>,
    ) {
        loop {
            let (turn, desired) = self.turn().await;
            let resync = tokio::time::sleep(RESYNC);
            tokio::pin!(resync);
            loop {
                self.report(&turn, &desired);
                tokio::select! {
                    Ok(()) = plans.changed() => {
                        if let Some(plan) = plans.borrow_and_update().clone() {
                            self.plan = plan;
                            self.complete = true;
                        }
                        break;
                    }
                    Some((slot, lease)) = leases.recv() => {
                        self.leases.insert(slot, lease);
                        if let Err(error) = self.state.save_leases(&self.leases) {
                            tracing::warn!(%error, "cannot save leases");
                        }
                        break;
                    }
                    () = self.changed.notified() => {
                        tokio::time::sleep(SETTLE).await;
                        break;
                    }
                    () = &mut resync => break,
                    () = tokio::time::sleep(TICK) => {}
                }
            }
        }
    }

    async fn turn(&mut self) -> (Turn, PlanObjects) {
        let desired = desired(&self.plan, &self.leases);
        let turn = self.converge(&desired).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot observe");
            let reason = error.to_string();
            Turn { not_as_declared: vec![ObjectReport { object: "kernel".into(), reason }], ..Turn::default() }
        });
        self.drift += turn.drift;
        self.verified = turn.verified().then(|| desired.clone());
        // a new namespace may be what a client or the machine waits for
        self.dhcp.put(&self.plan.objects.dhcp);
        self.watch();
        self.steer();
        (turn, desired)
    }

    async fn converge(&mut self, desired: &PlanObjects) -> Result<Turn, KernelError> {
        if self.shim.is_none() && !desired.datapath.is_empty() {
            self.shim = Some(Shim::open(&self.state)?);
        }
        let mut kernel = Kernel::open()?;
        let (mut outcomes, mut drifted) = (Vec::new(), 0);
        for pass in 0.. {
            let workers = self.wireguard.status()?;
            let observed = observe(&kernel, self.shim.as_ref(), &self.wireguard, &workers, desired).await?;
            let changes = changes(desired, &observed, self.complete);
            if changes.is_empty() || pass == PASSES {
                return Ok(Turn::new(desired, &observed, outcomes, drifted));
            }
            if pass == 0 {
                drifted = self.verified.as_ref().map_or(0, |verified| drift(verified, &observed, &changes));
                tracing::info!(generation = self.plan.generation, changes = changes.len(), drift = drifted, "apply");
            }
            let (shim, wireguard, state) = (self.shim.as_ref(), &self.wireguard, &self.state);
            outcomes = Applier { kernel: &mut kernel, shim, wireguard, state, desired }.apply(changes).await;
        }
        unreachable!("the loop ends by PASSES")
    }

    /// Listens in every namespace of ours; a namespace made anew gets a new listener.
    fn watch(&mut self) {
        let names = crate::sys::netns::list().unwrap_or_default();
        self.monitors.retain(|name, task| names.contains(name) && !task.is_finished());
        for name in names {
            if !name.starts_with(ownership::PREFIX) || self.monitors.contains_key(&name) {
                continue;
            }
            let Ok(monitor) = Netns::open(&name).and_then(|netns| Monitor::open(&netns)) else { continue };
            let changed = Arc::clone(&self.changed);
            let task = tokio::spawn(async move {
                while monitor.changed().await.is_ok() {
                    changed.notify_one();
                }
            });
            self.monitors.insert(name, task);
        }
    }

    /// Hands the plan's steering to the machine, once there is what it writes to. An anchor follows and has none.
    fn steer(&mut self) {
        let (Some(shim), Role::Edge) = (&self.shim, self.plan.role) else { return };
        if self.steering.as_ref().is_none_or(|steering| steering.orders.is_closed()) {
            let Ok(netns) = Netns::open(ownership::VIP_NETNS) else { return };
            let (orders, received) = mpsc::unbounded_channel();
            let (reports, seen) = watch::channel(Vec::new());
            let machine = steering::run(shim.clone(), netns, self.state.clone(), received, reports);
            tokio::spawn(async move {
                if let Err(error) = machine.await {
                    tracing::error!(%error, "the switching machine ended");
                }
            });
            self.steering = Some(Steering { orders, reports: seen, last: Orders::default() });
        }
        let objects = &self.plan.objects;
        let orders = Orders {
            steering: objects.steering.clone(),
            paths: objects.paths.clone(),
            remotes: objects.remotes.clone(),
        };
        if let Some(steering) = &mut self.steering
            && steering.last != orders
        {
            steering.last = orders.clone();
            let _ = steering.orders.send(orders);
        }
    }

    fn report(&mut self, turn: &Turn, desired: &PlanObjects) {
        let workers: BTreeMap<u8, WorkerStatus> = self.wireguard.status().unwrap_or_default();
        let steering = self.steering.as_ref().map(|steering| steering.reports.borrow().clone()).unwrap_or_default();
        let fresh = report::report(Sources {
            plan: &self.plan,
            desired,
            leases: &self.leases,
            turn,
            drift: self.drift,
            workers: &workers,
            steering,
            shim: self.shim.as_ref(),
        });
        let old = self.reports.borrow().clone();
        if old.is_none_or(|old| report::differ(&old, &fresh)) || self.reported.elapsed() > QUIET_REPORT {
            self.reported = Instant::now();
            self.reports.send_replace(Some(fresh));
        }
    }
}
