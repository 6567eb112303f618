//! One simulated node: the agent's session and its reconciler, over a kernel in memory.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use pathsteer_agent_core::{Lease, Lender, bootstrap_plan};
use pathsteer_crds::{identity::NodeIdentity, plan::NodePlan};
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use super::in_memory::InMemory;
use crate::{
    config::Config,
    drivers::dhcp::News,
    log::Log,
    reconcile::Reconciler,
    segmentation::Segmentation,
    session::{InForce, Session},
    state::StateDir,
    sys::clock::since_boot,
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
    let (came, lends) = (in_force.plans(), in_force.plans());
    let (reports, report_changes) = watch::channel(None);
    let (resolvers, resolver_changes) = watch::channel(BTreeMap::new());
    let log = Log::new();
    let tells = (report_changes, log.clone());
    let session = Session::new(config, &state, (identity, told), in_force, tells, resolver_changes)?.only_from_home();
    let heard = session.heard();
    let segmentation = Segmentation { whole: true, why: "simulated".to_owned() };
    let reconciler = Reconciler::new((state, run_dir), ground, segmentation, plan, resolvers, reports);
    let (lender, lent) = mpsc::unbounded_channel();
    let span = tracing::info_span!("node", name);
    let session = tokio::spawn(log.clone().of(session.run()).instrument(span.clone()));
    let reconciler = tokio::spawn(log.of(reconciler.run(plan_changes, lent)).instrument(span));
    tokio::select! {
        ended = session => anyhow::bail!("the session of {name} ended: {ended:?}"),
        ended = reconciler => anyhow::bail!("the reconciler of {name} ended: {ended:?}"),
        () = lend(lends, lender) => anyhow::bail!("{name} has neither session nor reconciler"),
        () = acknowledgements(&name, came, heard) => anyhow::bail!("{name} has neither session nor reconciler"),
    }
}

/// Lends every uplink that asks by DHCP an address of a network that is only for examples (RFC 5737).
async fn lend(mut plans: watch::Receiver<Option<NodePlan>>, lender: mpsc::UnboundedSender<News>) {
    /// Longer than any simulation.
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    while plans.changed().await.is_ok() {
        let asked: Vec<u8> = match plans.borrow_and_update().as_ref() {
            Some(plan) => plan.objects.dhcp.iter().filter(|dhcp| dhcp.ipv4).map(|dhcp| dhcp.slot).collect(),
            None => Vec::new(),
        };
        for slot in asked {
            let address = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, slot.saturating_add(10)), 24);
            let lease = Lease {
                address: Some(address.into()),
                gateway: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
                resolvers: Vec::new(),
                captive_portal: None,
                expires: since_boot() + YEAR,
            };
            if lender.send(News { slot, lender: Lender::Dhcpv4, lease: Some(lease) }).is_err() {
                return;
            }
        }
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
