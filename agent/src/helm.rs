//! Keeps one switching machine running and hands it what plans want.

use pathsteer_agent_core::switch::Avoid;
use pathsteer_crds::{ownership, plan::PlanObjects, report::SteeringReport};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    drivers::datapath::Shim,
    problems::Problem,
    state::StateDir,
    steering::{self, Orders},
    sys::netns::Netns,
};

/// The machine of an edge, once there is what it writes to.
pub struct Helm {
    state: StateDir,
    machine: Option<Machine>,
}

struct Machine {
    orders: mpsc::UnboundedSender<Orders>,
    reports: watch::Receiver<Vec<SteeringReport>>,
    last: Orders,
    task: JoinHandle<()>,
}

impl Helm {
    pub fn new(state: StateDir) -> Self {
        Helm { state, machine: None }
    }

    /// Hands the plan's steering to the machine, and what to avoid. One that could not go on is replaced by one that begins
    /// with what the map says.
    pub fn put(&mut self, shim: &Shim, objects: &PlanObjects, avoid: Avoid) {
        if self.machine.as_ref().is_none_or(|machine| machine.task.is_finished()) {
            if Netns::open(ownership::VIP_NETNS).is_err() {
                return;
            }
            self.machine = Some(Machine::start(shim.clone(), self.state.clone()));
        }
        let (steering, paths, remotes) = (objects.steering.clone(), objects.paths.clone(), objects.remotes.clone());
        let orders = Orders { steering, paths, remotes, avoid };
        if let Some(machine) = &mut self.machine
            && machine.last != orders
        {
            machine.last = orders.clone();
            let _ = machine.orders.send(orders);
        }
    }

    /// Ends the machine: what it writes to is no more.
    pub fn let_go(&mut self) {
        self.machine = None;
    }

    /// What the machine last said.
    pub fn reports(&self) -> Vec<SteeringReport> {
        self.machine.as_ref().map(|machine| machine.reports.borrow().clone()).unwrap_or_default()
    }
}

impl Machine {
    fn start(shim: Shim, state: StateDir) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let (said, reports) = watch::channel(Vec::new());
        let problems = state.problems().clone();
        problems.put(Problem::Steering, None);
        let machine = steering::run(shim, state, received, said);
        let task = tokio::spawn(async move {
            if let Err(error) = machine.await {
                tracing::error!(%error, "the switching machine ended");
                problems.put(Problem::Steering, Some(format!("it ended and is started again: {error}")));
            }
        });
        Machine { orders, reports, last: Orders::default(), task }
    }
}
