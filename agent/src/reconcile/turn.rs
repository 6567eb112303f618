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
    apply::Applier,
    drivers::{Kernel, datapath::Shim, link, route},
    observe::{Observed, observe},
    problems::Problem,
    sys::{KernelError, clock},
};

/// At most this many times a turn applies and looks again, as long as something succeeds; the rest waits for the next.
const PASSES: usize = 4;

impl Reconciler {
    pub(super) async fn turn(&mut self) -> (Turn, PlanObjects) {
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
        let (mut of_pass, mut new_ways) = (Vec::new(), BTreeSet::new());
        for pass in 0.. {
            // what was applied may have brought a default route, or taken it away
            let defaults = route::defaults(&kernel, &uplinks).await?;
            let before = std::mem::replace(&mut self.seen.defaults, defaults);
            new_ways.extend(self.seen.defaults.keys().filter(|way| !before.contains_key(*way)).cloned());
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
                let opened = |path: &&PathSpec| new_ways.iter().any(|(netns, _)| *netns == path.netns);
                self.plan.objects.paths.iter().filter(opened).for_each(|path| self.wireguard.hurry(path.slot));
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
}

/// Microseconds since `began`, which becomes now.
fn lap(began: &mut Instant) -> u128 {
    std::mem::replace(began, Instant::now()).elapsed().as_micros()
}
