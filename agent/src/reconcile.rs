//! The reconcile loop: wake up, observe, plan, apply, verify, report. A turn never fails; it has an outcome.

mod paths;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use pathsteer_agent_core::{History, Resolvers, Since, Turn, names};
use pathsteer_crds::{
    plan::{NodePlan, PlanObjects},
    report::NodeReport,
};
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::{mpsc, watch};

use crate::{
    drivers::dhcp::News,
    ground::{Calls, Ground, Seen},
    lease_book::LeaseBook,
    next_plan::NextPlan,
    report::{self, Sources},
    segmentation::Segmentation,
    state::{self, StateDir},
    sys::clock,
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
pub struct Reconciler<G> {
    state: StateDir,
    /// What is known for as long as the node runs is kept there.
    run_dir: PathBuf,
    plan: NodePlan,
    /// Until the plan comes from an operator, or is what was before one that did: what has been declared, as only that may
    /// be deleted.
    own: Option<BTreeSet<String>>,
    next: NextPlan,
    leases: LeaseBook,
    /// Who resolves names, by the namespace of the uplink.
    resolvers: watch::Sender<BTreeMap<String, Resolvers>>,
    segmentation: Segmentation,
    ground: G,
    calls: Calls,
    seen: Seen,
    /// What the last turn saw in force; absent if it was not as declared.
    verified: Option<PlanObjects>,
    /// What it saw in the kernel then, for a plan that comes next.
    known: Option<PlanObjects>,
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

impl<G: Ground> Reconciler<G> {
    /// Begins with the last good plan, or the bootstrap plan if there is none, and whether that is complete. `run_dir` is
    /// emptied when the node boots.
    pub fn new(
        (state, run_dir): (StateDir, PathBuf),
        ground: G,
        segmentation: Segmentation,
        (plan, complete): (NodePlan, bool),
        resolvers: watch::Sender<BTreeMap<String, Resolvers>>,
        reports: watch::Sender<Option<NodeReport>>,
    ) -> Self {
        Reconciler {
            own: (!complete).then(|| names(&plan.objects)),
            leases: LeaseBook::open(state.clone()),
            plan,
            next: NextPlan::none(),
            resolvers,
            segmentation,
            calls: ground.calls(),
            ground,
            seen: Seen::default(),
            verified: None,
            known: None,
            restless: false,
            history: History::default(),
            since: state::since(&run_dir),
            pace: Pace::default(),
            reports,
            counted: Instant::now(),
            run_dir,
            state,
        }
    }

    /// Turns until the process ends.
    pub async fn run(mut self, mut plans: watch::Receiver<Option<NodePlan>>, mut news: mpsc::UnboundedReceiver<News>) {
        let mut retry = RETRY;
        let mut fresh_plan = false;
        loop {
            let began = Instant::now();
            let (turn, desired) = self.turn(std::mem::take(&mut fresh_plan)).await;
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
                let workers = self.ground.workers();
                self.ground.hear(&workers);
                self.count();
                self.report(&turn, &desired, &workers);
                tokio::select! {
                    Ok(()) = plans.changed() => {
                        if let Some(plan) = plans.borrow_and_update().clone() {
                            // as they are now, not a second ago
                            let not_up = self.not_up(&self.ground.workers());
                            self.next.put(plan, &self.plan, &not_up);
                        }
                        fresh_plan = self.succeed();
                        if fresh_plan {
                            break;
                        }
                        tracing::info!("paths are left before a plan takes them away");
                        self.steer(self.avoid(&workers));
                    }
                    Some(news) = news.recv() => {
                        self.leases.take(news);
                        break;
                    }
                    () = self.calls.changed.notified() => {
                        tokio::time::sleep_until(settled).await;
                        break;
                    }
                    () = self.calls.plugged.notified(), if !turn.verified() => {
                        tokio::time::sleep(SETTLE).await;
                        break;
                    }
                    () = &mut next => break,
                    () = tokio::time::sleep(LEAVE_LOOK), if self.next.is_waiting() => {
                        fresh_plan = self.succeed();
                        if fresh_plan {
                            break;
                        }
                        // another path may have come up
                        self.steer(self.avoid(&workers));
                    }
                    () = tokio::time::sleep(TICK) => {
                        let other = |(slot, seen): (&u8, &WorkerStatus)| {
                            !workers.get(slot).is_some_and(|now| now.is_set_like(seen))
                        };
                        let reset = self.seen.workers.iter().any(other);
                        let expired = self.leases.expire();
                        let renewed = self.ground.to_renew(&workers).is_some_and(|known| {
                            let active = self.active(&workers);
                            self.ground.renew(&known, &active)
                        });
                        let moved = self.ground.listen(self.plan.reaches_home());
                        let lost = reset || self.ground.is_lost(&desired);
                        if expired || moved || renewed || turn.verified() && lost {
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
            self.ground
                .tallies()
                .map_or_else(|error| tracing::warn!(%error, "cannot count"), |tallies| self.seen.tallies = tallies);
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
            steering: self.ground.steering(),
            following: self.ground.following(),
            counters: self.ground.counters(&self.seen.tallies, workers),
            segmentation: &self.segmentation.why,
        });
        let before = self.since.clone();
        let whole = turn.not_as_declared.iter().all(|wrong| wrong.object != KERNEL);
        report::date(&mut fresh, &mut self.since, whole, &clock::now());
        if self.since != before {
            state::save_since(&self.run_dir, &self.since);
        }
        self.reports.send_replace(Some(fresh));
    }
}
