//! The reconcile loop: wake up, observe, plan, apply, verify, report. A turn never fails; it has an outcome.

mod paths;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::{Duration, Instant},
};

use pathsteer_agent_core::{History, Resolvers, Since, Turn, names};
use pathsteer_crds::{
    plan::{AddressSpec, NodePlan, PlanObjects},
    report::NodeReport,
};
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::{mpsc, watch};

use crate::{
    config::WireguardChoice,
    copies::Copies,
    drivers::{
        Kernel,
        datapath::Shim,
        dhcp::{Dhcp, News},
        nft::{self, Tallies},
        resolv_conf::ResolvConf,
        route::{Defaults, HostDefaults},
        wireguard::Wireguard,
    },
    helm::Helm,
    lease_book::LeaseBook,
    next_plan::NextPlan,
    renewal::Renewing,
    report::{self, Sources},
    segmentation::Segmentation,
    state::{self, StateDir},
    sys::clock,
    watch::Watch,
};

/// Where workers and locks live while the node runs.
pub const RUN_DIR: &str = "/run/pathsteer";
/// A turn without a notification: notifications can be lost, and some state has none.
const RESYNC: Duration = Duration::from_secs(30);
/// After a turn that left something undone the next one comes so soon, and ever later up to the resync.
const RETRY: Duration = Duration::from_secs(1);
/// Notifications come in bursts, our own changes among them. The first is answered at once: somebody may have taken away
/// what every packet needs. Those that come within so long after a turn are taken as one.
const SETTLE: Duration = Duration::from_millis(20);
/// Tunnels are looked at this often, and what nobody notifies us of: namespaces, pins, peers of the kernel's WireGuard,
/// workers that hang, the end of the switching machine.
const TICK: Duration = Duration::from_secs(1);
/// What nft has counted is looked at again so often, if no turn looks.
const COUNT: Duration = Duration::from_secs(10);
/// While a plan waits for paths to be left, it is looked this often whether they are.
const LEAVE_LOOK: Duration = Duration::from_millis(50);

/// What is not as declared when the kernel cannot be observed.
const KERNEL: &str = "kernel";

/// The agent's reconciler.
pub struct Reconciler {
    state: StateDir,
    plan: NodePlan,
    /// Until the plan comes from an operator, or is what was before one that did: what has been declared, as only that may
    /// be deleted.
    own: Option<BTreeSet<String>>,
    next: NextPlan,
    leases: LeaseBook,
    dhcp: Dhcp,
    /// Who resolves names, by the namespace of the uplink: for the session, and for people.
    resolvers: watch::Sender<BTreeMap<String, Resolvers>>,
    resolv_conf: ResolvConf,
    wireguard: Wireguard,
    renewing: Renewing,
    segmentation: Segmentation,
    shim: Option<Shim>,
    helm: Helm,
    watch: Watch,
    copies: Copies,
    tables: nft::Memory,
    seen: Seen,
    /// What the last turn saw in force; absent if it was not as declared.
    verified: Option<PlanObjects>,
    /// A namespace of ours came or went in the last turn.
    restless: bool,
    history: History,
    since: Since,
    pace: Pace,
    reports: watch::Sender<Option<NodeReport>>,
    counted: Instant,
}

/// How long the parts of the last turn took, in microseconds: looking at the kernel, changing it (with what had to be
/// found out in between), and looking again.
#[derive(Default)]
struct Pace {
    observe: u128,
    apply: u128,
    verify: u128,
}

/// What was found beside the objects, by the last look.
#[derive(Default)]
pub struct Seen {
    /// Namespaces of uplinks with a working default route.
    pub defaults: Defaults,
    /// Default routes of the node's own namespace by the cards that stay there.
    pub host_defaults: HostDefaults,
    pub advertised: Vec<AddressSpec>,
    pub tallies: Tallies,
    pub workers: BTreeMap<u8, WorkerStatus>,
}

impl Reconciler {
    /// Begins with the last good plan, or the bootstrap plan if there is none, and whether that is complete.
    ///
    /// # Errors
    /// The binary's own path cannot be told, or the kernel has no WireGuard and must.
    pub fn new(
        state: StateDir,
        (wireguard, segmentation): (WireguardChoice, Segmentation),
        (plan, complete): (NodePlan, bool),
        news: mpsc::UnboundedSender<News>,
        resolvers: watch::Sender<BTreeMap<String, Resolvers>>,
        reports: watch::Sender<Option<NodeReport>>,
        renewing: Renewing,
    ) -> io::Result<Self> {
        let wireguard = Wireguard::new(Path::new(RUN_DIR).join("wireguard"), state.clone(), wireguard)?;
        Ok(Reconciler {
            own: (!complete).then(|| names(&plan.objects)),
            leases: LeaseBook::open(state.clone()),
            plan,
            next: NextPlan::none(),
            dhcp: Dhcp::new(news),
            resolvers,
            resolv_conf: ResolvConf::default(),
            wireguard,
            renewing,
            segmentation,
            shim: None,
            helm: Helm::new(state.clone()),
            watch: Watch::new(),
            copies: Copies::new(state.clone()),
            tables: nft::Memory::default(),
            seen: Seen::default(),
            verified: None,
            restless: false,
            history: History::default(),
            since: state::since(Path::new(RUN_DIR)),
            pace: Pace::default(),
            reports,
            counted: Instant::now(),
            state,
        })
    }

    /// Turns until the process ends.
    pub async fn run(mut self, mut plans: watch::Receiver<Option<NodePlan>>, mut news: mpsc::UnboundedReceiver<News>) {
        let mut retry = RETRY;
        loop {
            let began = Instant::now();
            let (turn, desired) = self.turn().await;
            let took_us = began.elapsed().as_micros();
            let (generation, changes) = (self.plan.generation, turn.outcomes.len());
            let Pace { observe, apply, verify } = &self.pace;
            tracing::debug!(generation, changes, verified = turn.verified(), took_us, observe, apply, verify, "turn");
            let pause = match turn.verified() {
                // a namespace that went during the turn was still seen by it
                true if self.restless => RETRY,
                true => RESYNC,
                false => retry,
            };
            retry = if turn.verified() { RETRY } else { RESYNC.min(retry * 2) };
            let settled = tokio::time::Instant::now() + SETTLE;
            let next = tokio::time::sleep(pause);
            tokio::pin!(next);
            loop {
                let workers = self.wireguard.status();
                self.watch.put_workers(&workers, |slot| self.wireguard.socket(slot));
                self.count();
                self.report(&turn, &desired, &workers);
                tokio::select! {
                    Ok(()) = plans.changed() => {
                        if let Some(plan) = plans.borrow_and_update().clone() {
                            // as they are now, not a second ago
                            let not_up = self.not_up(&self.wireguard.status());
                            self.next.put(plan, &self.plan, &not_up);
                        }
                        if self.succeed() {
                            break;
                        }
                        tracing::info!("paths are left before a plan takes them away");
                        self.steer(self.avoid(&workers));
                    }
                    Some(news) = news.recv() => {
                        self.leases.take(news);
                        break;
                    }
                    () = self.watch.changed.notified() => {
                        tokio::time::sleep_until(settled).await;
                        break;
                    }
                    () = self.watch.plugged.notified(), if !turn.verified() => {
                        tokio::time::sleep(SETTLE).await;
                        break;
                    }
                    () = &mut next => break,
                    () = tokio::time::sleep(LEAVE_LOOK), if self.next.is_waiting() => {
                        if self.succeed() {
                            break;
                        }
                        // another path may have come up
                        self.steer(self.avoid(&workers));
                    }
                    () = tokio::time::sleep(TICK) => {
                        let unpinned =
                            self.shim.is_some() && !(Shim::is_pinned() && Shim::are_attached(&desired.programs));
                        let other = |(slot, seen): (&u8, &WorkerStatus)| {
                            !workers.get(slot).is_some_and(|now| now.is_set_like(seen))
                        };
                        let reset = self.seen.workers.iter().any(other);
                        let expired = self.leases.expire();
                        let renewed = self.renewing.due(&workers).is_some_and(|known| {
                            let active = self.active(&workers);
                            self.renewing.step(&self.wireguard, &known, &active)
                        });
                        let moved = self.watch.put(self.plan.reaches_home());
                        if expired || moved || renewed || turn.verified() && (unpinned || reset) {
                            break;
                        }
                        self.steer(self.avoid(&workers));
                    }
                }
            }
        }
    }

    fn count(&mut self) {
        if self.counted.elapsed() > COUNT {
            self.counted = Instant::now();
            let counted = Kernel::open(self.wireguard.kind()).and_then(|kernel| nft::tallies(&kernel));
            counted.map_or_else(|error| tracing::warn!(%error, "cannot count"), |tallies| self.seen.tallies = tallies);
        }
    }

    /// Says how things stand. What of it is worth sending, and when, is the session's to decide.
    fn report(&mut self, turn: &Turn, desired: &PlanObjects, workers: &BTreeMap<u8, WorkerStatus>) {
        let mut fresh = report::report(Sources {
            plan: &self.plan,
            desired,
            leases: &self.leases,
            resolvers: &self.resolvers.borrow(),
            seen: &self.seen,
            turn,
            history: &self.history,
            problems: self.state.problems().reports(),
            workers,
            steering: self.helm.reports(),
            shim: self.shim.as_ref(),
            segmentation: &self.segmentation.why,
        });
        let before = self.since.clone();
        let whole = turn.not_as_declared.iter().all(|wrong| wrong.object != KERNEL);
        report::date(&mut fresh, &mut self.since, whole, &clock::now());
        if self.since != before {
            state::save_since(Path::new(RUN_DIR), &self.since);
        }
        self.reports.send_replace(Some(fresh));
    }
}
