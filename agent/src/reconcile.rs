//! The reconcile loop: wake up, observe, plan, apply, verify, report. A turn never fails; it has an outcome.

mod paths;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::{Duration, Instant},
};

use pathsteer_agent_core::{
    ChangeClass, Drifted, History, Outcome, Resolvers, Since, Surroundings, Sweep, Turn, changes, desired, drift,
    latest, names, resolvers,
};
use pathsteer_crds::{
    plan::{AddressSpec, NodePlan, PlanObjects},
    report::{Moment, NodeReport, ObjectReport},
};
use pathsteer_wireguard::WorkerStatus;
use tokio::{
    sync::{mpsc, watch},
    task::block_in_place,
};

use crate::{
    apply::Applier,
    config::WireguardChoice,
    copies::Copies,
    drivers::{
        Kernel,
        datapath::Shim,
        dhcp::{Dhcp, News},
        link,
        nft::{self, Tallies},
        resolv_conf::ResolvConf,
        route::{self, Defaults, HostDefaults},
        wireguard::Wireguard,
    },
    helm::Helm,
    lease_book::LeaseBook,
    next_plan::NextPlan,
    observe::{Observed, observe},
    problems::Problem,
    renewal::Renewing,
    report::{self, Sources},
    segmentation::Segmentation,
    state::{self, StateDir},
    sys::{KernelError, clock},
    watch::Watch,
};

/// Where workers and locks live while the node runs.
pub const RUN_DIR: &str = "/run/pathsteer";
/// A turn without a notification: notifications can be lost, and some state has none.
const RESYNC: Duration = Duration::from_secs(30);
/// After a turn that left something undone the next one comes so soon, and ever later up to the resync.
const RETRY: Duration = Duration::from_secs(1);
/// At most this many times a turn applies and looks again, as long as something succeeds; the rest waits for the next.
const PASSES: usize = 4;
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

    async fn turn(&mut self) -> (Turn, PlanObjects) {
        // the kernel works in our name and its answers come at once: this thread is not to be waited for by other tasks
        let runtime = tokio::runtime::Handle::current();
        let (mut outcomes, mut drifted) = (Vec::new(), Vec::new());
        let seen = block_in_place(|| runtime.block_on(self.converge(&mut outcomes, &mut drifted)));
        let turn = match seen {
            Ok((desired, observed)) => Turn::new(&desired, &observed, outcomes, drifted),
            Err(error) => {
                tracing::warn!(%error, "cannot observe");
                let wrong = ObjectReport { object: KERNEL.into(), reason: error.to_string(), since: Moment::default() };
                Turn { not_as_declared: vec![wrong], outcomes, drift: drifted }
            }
        };
        let desired = self.desired();
        let unseen = turn.not_as_declared.iter().find(|wrong| wrong.object == KERNEL);
        self.state.problems().put(Problem::Kernel, unseen.map(|wrong| wrong.reason.clone()));
        self.history.take(&turn, &clock::now());
        match (self.verified.is_some(), turn.verified()) {
            (false, true) => tracing::info!(generation = self.plan.generation, "in sync"),
            (true, false) => tracing::warn!(wrong = turn.not_as_declared.len(), "not in sync"),
            _ => {}
        }
        self.verified = turn.verified().then(|| desired.clone());
        // a new namespace may be what a client or the machine waits for
        self.dhcp.put(&self.plan.objects.dhcp).await;
        let resolvers = resolvers(&self.plan, self.leases.held());
        self.resolv_conf.put(&resolvers);
        self.resolvers.send_if_modified(|known| {
            *known != resolvers && {
                *known = resolvers;
                true
            }
        });
        self.restless = self.watch.put(self.plan.reaches_home());
        self.steer(self.avoid(&self.seen.workers));
        (turn, desired)
    }

    /// What the kernel has to hold now, as far as the last look tells.
    fn desired(&self) -> PlanObjects {
        let defaults = self.seen.defaults.keys().cloned().collect();
        let whole_segments = self.segmentation.whole;
        let (leases, host_defaults) = (self.leases.held(), &self.seen.host_defaults);
        desired(&self.plan, Surroundings { leases, defaults: &defaults, host_defaults, whole_segments })
    }

    /// Looks, changes and looks again. What came of it is told in any case; what is then desired, and what is there, unless
    /// that cannot be seen.
    async fn converge(
        &mut self,
        outcomes: &mut Vec<Outcome>,
        drifted: &mut Vec<Drifted>,
    ) -> Result<(PlanObjects, PlanObjects), KernelError> {
        let no_shim = self.open_shim();
        let uplinks = self.plan.objects.paths.iter().map(|path| path.netns.clone()).collect();
        let in_place = self.plan.objects.routes.iter().filter_map(|route| route.while_host_default.clone()).collect();
        self.pace = Pace::default();
        let mut began = Instant::now();
        let mut kernel = Kernel::open(self.wireguard.kind())?;
        kernel.at_home = self.plan.reaches_home() || link::any_at_home();
        let mut of_pass = Vec::new();
        for pass in 0.. {
            // what was applied may have brought a default route, or taken it away
            self.seen.defaults = route::defaults(&kernel, &uplinks).await?;
            self.seen.host_defaults = route::host_defaults(&kernel, &in_place).await?;
            let desired = self.desired();
            let workers = self.wireguard.status();
            let Observed { objects: observed, advertised, tallies } = {
                let (shim, memory) = (self.shim.as_ref(), &mut self.tables);
                observe(&kernel, shim, &self.wireguard, &workers, memory, &desired, &self.state).await?
            };
            self.copies.count(&kernel, &desired.nft_tables, &tallies.copied);
            (self.seen.advertised, self.seen.tallies, self.seen.workers) = (advertised, tallies, workers);
            let looked = if pass == 0 { &mut self.pace.observe } else { &mut self.pace.verify };
            *looked += lap(&mut began);
            if let Some(own) = &mut self.own {
                own.extend(names(&desired));
            }
            let sweep = self.own.as_ref().map_or(Sweep::Everything, Sweep::Only);
            let changes = changes(&desired, &observed, sweep);
            let is_stuck = pass > 0 && of_pass.iter().all(|outcome: &Outcome| outcome.failure.is_some());
            if changes.is_empty() || is_stuck || pass == PASSES {
                return Ok((desired, observed));
            }
            if pass == 0 {
                *drifted =
                    self.verified.as_ref().map(|was| drift(was, &desired, &observed, &changes)).unwrap_or_default();
                let worst = changes.iter().map(|change| change.class).max();
                let (generation, worst) = (self.plan.generation, worst.unwrap_or(ChangeClass::None));
                tracing::info!(generation, changes = changes.len(), drift = drifted.len(), ?worst, "apply");
            }
            let shim = self.shim.as_ref().ok_or(&*no_shim);
            let (wireguard, state) = (&self.wireguard, &self.state);
            let copied = self.copies.copied();
            let mut applier = Applier { kernel: &mut kernel, shim, wireguard, state, desired: &desired, copied };
            of_pass = applier.apply(changes).await;
            latest(outcomes, &of_pass);
            self.pace.apply += lap(&mut began);
        }
        unreachable!("the loop ends by PASSES")
    }

    /// Opens the datapath, anew when its pins are gone, and otherwise says why it cannot be had. Everything else is
    /// reconciled without it: it may be by an uplink that somebody hears what is wrong.
    fn open_shim(&mut self) -> String {
        if let Some(shim) = self.shim.take_if(|_| !Shim::is_pinned()) {
            shim.let_go();
            self.helm.let_go();
        }
        let mut why = None;
        if self.shim.is_none() && !self.plan.objects.datapath.is_empty() {
            match Shim::open(&self.state, self.segmentation.whole) {
                Ok(shim) => self.shim = Some(shim),
                Err(error) => why = Some(error.to_string()),
            }
            if let Err(error) = self.watch.put_programs(self.shim.as_ref()) {
                tracing::warn!(%error, "cannot look after programs");
            }
        }
        self.state.problems().put(Problem::Datapath, why.clone());
        why.unwrap_or_default()
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

/// Microseconds since `began`, which becomes now.
fn lap(began: &mut Instant) -> u128 {
    std::mem::replace(began, Instant::now()).elapsed().as_micros()
}
