//! One simulated node: the agent's session and its reconciler, over a kernel in memory.

use std::{collections::BTreeMap, time::Instant};

use pathsteer_agent_core::bootstrap_plan;
use pathsteer_crds::{identity::NodeIdentity, plan::NodePlan};
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use super::in_memory::InMemory;
use crate::{
    config::Config,
    reconcile::Reconciler,
    segmentation::Segmentation,
    session::{InForce, Session},
    state::StateDir,
};

/// Store epoch and generation of a plan.
type Order = (u64, i64);

/// Lives until it is dropped.
///
/// # Errors
/// What keeps the node from starting, or ends it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let name = config.node.clone();
    let state = StateDir::open(&config.state_dir)?;
    // a life of the process is a life of the node, whose kernel is empty when it begins
    let run_dir = config.state_dir.join("run");
    if run_dir.exists() {
        std::fs::remove_dir_all(&run_dir)?;
    }
    std::fs::create_dir(&run_dir)?;
    let identity = state.identity()?;
    let ground = InMemory::new(&identity);
    // no key is ever renewed: the sender is kept for as long as the session, and sends nothing
    let (_identities, identity) = watch::channel(identity);
    let told = watch::Sender::new(NodeIdentity::default());
    let in_force = InForce::load(state.clone(), bootstrap_plan(&name, &BTreeMap::new()));
    let (plan_changes, plan) = (in_force.plans(), in_force.plan());
    let came = in_force.plans();
    let (reports, report_changes) = watch::channel(None);
    let (resolvers, resolver_changes) = watch::channel(BTreeMap::new());
    let session =
        Session::new(config, &state, (identity, told), in_force, report_changes, resolver_changes)?.only_from_home();
    let heard = session.heard();
    let segmentation = Segmentation { whole: true, why: "simulated".to_owned() };
    let reconciler = Reconciler::new((state, run_dir), ground, segmentation, plan, resolvers, reports);
    // no network lends a simulated node anything
    let (_lender, lent) = mpsc::unbounded_channel();
    let span = tracing::info_span!("node", name);
    let session = tokio::spawn(session.run().instrument(span.clone()));
    let reconciler = tokio::spawn(reconciler.run(plan_changes, lent).instrument(span));
    tokio::select! {
        ended = session => anyhow::bail!("the session of {name} ended: {ended:?}"),
        ended = reconciler => anyhow::bail!("the reconciler of {name} ended: {ended:?}"),
        () = acknowledgements(&name, came, heard) => anyhow::bail!("{name} has neither session nor reconciler"),
    }
}

/// Says of each plan how long after it came the operator has heard that it was carried out.
async fn acknowledgements(node: &str, mut plans: watch::Receiver<Option<NodePlan>>, mut heard: watch::Receiver<Order>) {
    let mut due: Option<(Order, Instant)> = None;
    loop {
        tokio::select! {
            changed = plans.changed() => match changed {
                Ok(()) => due = plans.borrow_and_update().as_ref().map(|plan| (plan.order(), Instant::now())),
                Err(_) => return,
            },
            changed = heard.changed() => {
                let order = *heard.borrow_and_update();
                if let Some((_, came)) = due.take_if(|(due, _)| *due == order) {
                    let elapsed_us = came.elapsed().as_micros();
                    tracing::info!(node, store_epoch = order.0, generation = order.1, elapsed_us, "acknowledged");
                }
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
