//! One turn: look, change, look again.

use std::{collections::BTreeSet, time::Instant};

use pathsteer_agent_core::{
    ChangeClass, Drifted, Outcome, Surroundings, Sweep, Turn, changes, desired, drift, latest, names, resolvers,
};
use pathsteer_crds::{
    plan::{PathSpec, PlanObjects},
    report::{Moment, ObjectReport},
};
use tokio::task::block_in_place;

use super::{KERNEL, Pace, Reconciler};
use crate::{
    ground::Ground,
    observe::Observed,
    problems::Problem,
    sys::{KernelError, clock},
};

/// At most this many times a turn applies and looks again, as long as something succeeds; the rest waits for the next.
const PASSES: usize = 4;

impl<G: Ground> Reconciler<G> {
    /// Because of a `fresh_plan`, or for any other reason.
    pub(super) async fn turn(&mut self, fresh_plan: bool) -> (Turn, PlanObjects) {
        // the kernel works in our name and its answers come at once: this thread is not to be waited for by other tasks
        let runtime = tokio::runtime::Handle::current();
        let (mut outcomes, mut drifted) = (Vec::new(), Vec::new());
        // nobody has told of anything else since, and a look takes longer than most changes
        let known = self.known.take().filter(|_| fresh_plan);
        let seen = block_in_place(|| runtime.block_on(self.converge(known, &mut outcomes, &mut drifted)));
        let turn = match seen {
            Ok((desired, observed)) => {
                let turn = Turn::new(&desired, &observed, outcomes, drifted);
                self.known = turn.verified().then_some(observed);
                turn
            }
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
        let resolvers = resolvers(&self.plan, self.leases.held());
        self.ground.settle(&self.plan, &resolvers).await;
        self.resolvers.send_if_modified(|known| {
            *known != resolvers && {
                *known = resolvers;
                true
            }
        });
        self.restless = self.ground.listen(self.plan.reaches_home());
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

    /// Looks, changes and looks again; where it is `known` what was there before a fresh plan, changes first. What came of it
    /// is told in any case; what is then desired, and what is there, unless that cannot be seen.
    async fn converge(
        &mut self,
        known: Option<PlanObjects>,
        outcomes: &mut Vec<Outcome>,
        drifted: &mut Vec<Drifted>,
    ) -> Result<(PlanObjects, PlanObjects), KernelError> {
        self.pace = Pace::default();
        let mut began = Instant::now();
        let mut kernel = self.ground.open(&self.plan)?;
        let (mut of_pass, mut new_ways) = (Vec::new(), BTreeSet::new());
        if let Some(known) = known {
            let desired = self.desired();
            let changes = changes(&desired, &known, Sweep::Everything);
            let worst = changes.iter().map(|change| change.class).max().unwrap_or(ChangeClass::None);
            tracing::info!(generation = self.plan.generation, changes = changes.len(), ?worst, "apply");
            latest(outcomes, &self.ground.apply(&mut kernel, changes, &desired).await);
            self.pace.apply += lap(&mut began);
        }
        for pass in 0.. {
            // what was applied may have brought a default route, or taken it away
            let (defaults, host_defaults) = self.ground.ways(&kernel, &self.plan).await?;
            let before = std::mem::replace(&mut self.seen.defaults, defaults);
            new_ways.extend(self.seen.defaults.keys().filter(|way| !before.contains_key(*way)).cloned());
            self.seen.host_defaults = host_defaults;
            let desired = self.desired();
            let workers = self.ground.workers();
            let Observed { objects: observed, advertised, tallies } =
                self.ground.look(&kernel, &workers, &desired).await?;
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
                let opened = |path: &&PathSpec| new_ways.iter().any(|(netns, _)| *netns == path.netns);
                self.plan.objects.paths.iter().filter(opened).for_each(|path| self.ground.hurry(path.slot));
                return Ok((desired, observed));
            }
            if pass == 0 {
                *drifted =
                    self.verified.as_ref().map(|was| drift(was, &desired, &observed, &changes)).unwrap_or_default();
                let worst = changes.iter().map(|change| change.class).max();
                let (generation, worst) = (self.plan.generation, worst.unwrap_or(ChangeClass::None));
                tracing::info!(generation, changes = changes.len(), drift = drifted.len(), ?worst, "apply");
            }
            of_pass = self.ground.apply(&mut kernel, changes, &desired).await;
            latest(outcomes, &of_pass);
            self.pace.apply += lap(&mut began);
        }
        unreachable!("the loop ends by PASSES")
    }
}

/// Microseconds since `began`, which becomes now.
fn lap(began: &mut Instant) -> u128 {
    std::mem::replace(began, Instant::now()).elapsed().as_micros()
}
