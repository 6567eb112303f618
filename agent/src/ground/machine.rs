//! The machine that the agent runs on.

use std::{collections::BTreeMap, io, path::Path};

use pathsteer_agent_core::{Active, Change, Outcome, Resolvers, Worker, switch::Avoid};
use pathsteer_crds::{
    plan::{NodePlan, PlanObjects},
    report::{CounterReport, FollowingReport, SteeringReport},
};
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::mpsc;

use super::{Calls, Ground};
use crate::{
    apply::Applier,
    config::WireguardChoice,
    copies::Copies,
    counters::counters,
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
    observe::{Observed, observe},
    problems::Problem,
    reconcile::RUN_DIR,
    renewal::Renewing,
    report,
    segmentation::Segmentation,
    state::StateDir,
    sys::KernelError,
    watch::Watch,
};

/// Its kernel, its workers, its files.
pub struct Machine {
    state: StateDir,
    dhcp: Dhcp,
    /// Who resolves names, for people.
    resolv_conf: ResolvConf,
    wireguard: Wireguard,
    renewing: Renewing,
    whole_segments: bool,
    shim: Option<Shim>,
    /// Why there is none.
    no_shim: String,
    helm: Helm,
    watch: Watch,
    copies: Copies,
    tables: nft::Memory,
}

impl Machine {
    /// # Errors
    /// The binary's own path cannot be told, or the kernel has no WireGuard and must.
    pub fn new(
        state: &StateDir,
        wireguard: WireguardChoice,
        segmentation: &Segmentation,
        news: mpsc::UnboundedSender<News>,
        renewing: Renewing,
    ) -> io::Result<Self> {
        Ok(Machine {
            dhcp: Dhcp::new(news),
            resolv_conf: ResolvConf::default(),
            wireguard: Wireguard::new(Path::new(RUN_DIR).join("wireguard"), state.clone(), wireguard)?,
            renewing,
            whole_segments: segmentation.whole,
            shim: None,
            no_shim: String::new(),
            helm: Helm::new(state.clone()),
            watch: Watch::new(),
            copies: Copies::new(state.clone()),
            tables: nft::Memory::default(),
            state: state.clone(),
        })
    }

    /// Opens the datapath, anew when its pins are gone, and otherwise says why it cannot be had. Everything else is
    /// reconciled without it: it may be by an uplink that somebody hears what is wrong.
    fn open_shim(&mut self, plan: &NodePlan) {
        if let Some(shim) = self.shim.take_if(|_| !Shim::is_pinned()) {
            shim.let_go();
            self.helm.let_go();
        }
        let mut why = None;
        if self.shim.is_none() && !plan.objects.datapath.is_empty() {
            match Shim::open(&self.state, self.whole_segments) {
                Ok(shim) => self.shim = Some(shim),
                Err(error) => why = Some(error.to_string()),
            }
            if let Err(error) = self.watch.put_programs(self.shim.as_ref()) {
                tracing::warn!(%error, "cannot look after programs");
            }
        }
        self.state.problems().put(Problem::Datapath, why.clone());
        self.no_shim = why.unwrap_or_default();
    }
}

impl Ground for Machine {
    type Kernel = Kernel;

    fn calls(&self) -> Calls {
        self.watch.calls.clone()
    }

    fn open(&mut self, plan: &NodePlan) -> Result<Kernel, KernelError> {
        self.open_shim(plan);
        let mut kernel = Kernel::open(self.wireguard.kind())?;
        kernel.at_home = plan.reaches_home() || link::any_at_home();
        Ok(kernel)
    }

    async fn ways(&self, kernel: &Kernel, plan: &NodePlan) -> Result<(Defaults, HostDefaults), KernelError> {
        let uplinks = plan.objects.paths.iter().map(|path| path.netns.clone()).collect();
        let in_place = plan.objects.routes.iter().filter_map(|route| route.while_host_default.clone()).collect();
        let defaults = route::defaults(kernel, &uplinks).await?;
        Ok((defaults, route::host_defaults(kernel, &in_place).await?))
    }

    async fn look(
        &mut self,
        kernel: &Kernel,
        workers: &BTreeMap<u8, WorkerStatus>,
        desired: &PlanObjects,
    ) -> Result<Observed, KernelError> {
        let (shim, memory) = (self.shim.as_ref(), &mut self.tables);
        let observed = observe(kernel, shim, &self.wireguard, workers, memory, desired, &self.state).await?;
        self.copies.count(kernel, &desired.nft_tables, &observed.tallies.copied);
        Ok(observed)
    }

    async fn apply(&mut self, kernel: &mut Kernel, changes: Vec<Change>, desired: &PlanObjects) -> Vec<Outcome> {
        let shim = self.shim.as_ref().ok_or(&*self.no_shim);
        let (wireguard, state, copied) = (&self.wireguard, &self.state, self.copies.copied());
        Applier { kernel, shim, wireguard, state, desired, copied }.apply(changes).await
    }

    async fn settle(&mut self, plan: &NodePlan, resolvers: &BTreeMap<String, Resolvers>) {
        // a new namespace may be what a client or the machine waits for
        self.dhcp.put(&plan.objects.dhcp).await;
        self.resolv_conf.put(resolvers);
    }

    fn listen(&mut self, at_home: bool) -> bool {
        self.watch.put(at_home)
    }

    fn is_lost(&self, desired: &PlanObjects) -> bool {
        self.shim.is_some() && !(Shim::is_pinned() && Shim::are_attached(&desired.programs))
    }

    fn tallies(&self) -> Result<Tallies, KernelError> {
        nft::tallies(&Kernel::open(self.wireguard.kind())?)
    }

    fn workers(&self) -> BTreeMap<u8, WorkerStatus> {
        self.wireguard.status()
    }

    fn hear(&mut self, workers: &BTreeMap<u8, WorkerStatus>) {
        self.watch.put_workers(workers, |slot| self.wireguard.socket(slot));
    }

    fn hurry(&self, slot: u8) {
        self.wireguard.hurry(slot);
    }

    fn to_renew(&self, workers: &BTreeMap<u8, WorkerStatus>) -> Option<BTreeMap<u8, Worker>> {
        self.renewing.due(workers)
    }

    fn renew(&mut self, known: &BTreeMap<u8, Worker>, active: &Active) -> bool {
        self.renewing.step(&self.wireguard, known, active)
    }

    fn renewed(&self) -> Option<u8> {
        self.renewing.avoided()
    }

    fn steer(&mut self, objects: &PlanObjects, avoid: Avoid) {
        if let Some(shim) = &self.shim {
            self.helm.put(shim, objects, avoid);
        }
    }

    fn steering(&self) -> Vec<SteeringReport> {
        self.helm.reports()
    }

    fn following(&self) -> Vec<FollowingReport> {
        self.shim.as_ref().map(report::following).unwrap_or_default()
    }

    fn counters(&self, tallies: &Tallies, workers: &BTreeMap<u8, WorkerStatus>) -> Vec<CounterReport> {
        counters(self.shim.as_ref(), tallies, workers)
    }
}
