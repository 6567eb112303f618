//! What a node's reconciler stands on: the machine with its kernel, or one in memory. It does what it is told and decides
//! nothing, so that turns are the same on either.

mod machine;

pub use machine::Machine;

use std::{collections::BTreeMap, sync::Arc};

use pathsteer_agent_core::{Active, Change, Outcome, Resolvers, Worker, switch::Avoid};
use pathsteer_crds::{
    plan::{AddressSpec, NodePlan, PlanObjects},
    report::{CounterReport, FollowingReport, SteeringReport},
};
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::Notify;

use crate::{
    drivers::{
        nft::Tallies,
        route::{Defaults, HostDefaults},
    },
    observe::Observed,
    sys::KernelError,
};

/// What calls for a turn.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// Something changed in a namespace of ours.
    pub changed: Arc<Notify>,
    /// An interface of the node's own namespace changed: a card that was missing may be there.
    pub plugged: Arc<Notify>,
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

/// The ground under one reconciler.
pub trait Ground {
    /// The kernel, open for one turn.
    type Kernel;

    fn calls(&self) -> Calls;

    /// Opens the kernel for a turn that is to carry out `plan`.
    ///
    /// # Errors
    /// What the kernel says.
    fn open(&mut self, plan: &NodePlan) -> Result<Self::Kernel, KernelError>;

    /// The default routes by which the uplinks of `plan` lead out.
    ///
    /// # Errors
    /// What the kernel says.
    async fn ways(&self, kernel: &Self::Kernel, plan: &NodePlan) -> Result<(Defaults, HostDefaults), KernelError>;

    /// What is in the kernel of ours, and of what is desired.
    ///
    /// # Errors
    /// The first dump that fails: half an observation would look like drift.
    async fn look(
        &mut self,
        kernel: &Self::Kernel,
        workers: &BTreeMap<u8, WorkerStatus>,
        desired: &PlanObjects,
    ) -> Result<Observed, KernelError>;

    /// Carries out `changes`; one that fails stops none of the others.
    async fn apply(&mut self, kernel: &mut Self::Kernel, changes: Vec<Change>, desired: &PlanObjects) -> Vec<Outcome>;

    /// After a turn: asks networks for what `plan` wants of them, and tells people on the node who resolves names.
    async fn settle(&mut self, plan: &NodePlan, resolvers: &BTreeMap<String, Resolvers>);

    /// Listens where nobody does yet; `at_home` says that something of ours is in the node's own namespace. Says whether a
    /// namespace of ours has come or gone since the last time.
    fn listen(&mut self, at_home: bool) -> bool;

    /// Whether something is gone that nobody is notified of.
    fn is_lost(&self, desired: &PlanObjects) -> bool;

    /// What nft has counted.
    ///
    /// # Errors
    /// What the kernel says.
    fn tallies(&self) -> Result<Tallies, KernelError>;

    /// Who does WireGuard in each slot, as they are now.
    fn workers(&self) -> BTreeMap<u8, WorkerStatus>;

    /// Hears from now on of `workers` as they are now.
    fn hear(&mut self, workers: &BTreeMap<u8, WorkerStatus>);

    /// The WireGuard of `slot` has a way again and need not wait for its timers.
    fn hurry(&self, slot: u8);

    /// Those who do WireGuard now, if they are to be renewed.
    fn to_renew(&self, workers: &BTreeMap<u8, WorkerStatus>) -> Option<BTreeMap<u8, Worker>>;

    /// Goes a step on with that. Says whether a turn has to make another worker.
    fn renew(&mut self, known: &BTreeMap<u8, Worker>, active: &Active) -> bool;

    /// The slot that is being renewed, by which nothing should be sent now.
    fn renewed(&self) -> Option<u8>;

    /// Hands the plan's steering on, and what it is to keep off.
    fn steer(&mut self, objects: &PlanObjects, avoid: Avoid);

    /// What the node sends by.
    fn steering(&self) -> Vec<SteeringReport>;

    /// What the node follows.
    fn following(&self) -> Vec<FollowingReport>;

    /// Packets by what became of them.
    fn counters(&self, tallies: &Tallies, workers: &BTreeMap<u8, WorkerStatus>) -> Vec<CounterReport>;
}
