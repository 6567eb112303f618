//! Running as a daemon: wiring of session, reconciler and signals.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::fcntl::{Flock, FlockArg};
use pathsteer_agent_core::bootstrap_plan;
use pathsteer_crds::identity::NodeIdentity;
use tokio::sync::{mpsc, watch};

use crate::{
    clock,
    config::Config,
    ground::Machine,
    log::Log,
    problems::Problem,
    reconcile::{RUN_DIR, Reconciler},
    renewal::Renewing,
    segmentation::Segmentation,
    session::{InForce, Session},
    state::StateDir,
    tls,
};

/// How often the certificate is looked at; it lives for months.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(3_600);

/// Runs until SIGTERM or SIGINT, and answers from `log`. Workers, namespaces and programs stay: traffic goes on.
///
/// # Errors
/// What keeps the agent from starting.
pub async fn run(config: Config, log: Log) -> anyhow::Result<()> {
    let _lock = lock()?;
    let state = StateDir::open(&config.state_dir)?;
    clock::put_right(&config, &state)?;
    let clock = tokio::spawn(clock::keep(state.clone()));
    let (identity, identity_changes) = watch::channel(state.identity()?);
    let (told, tellings) = watch::channel(NodeIdentity::default());
    let renewing = Renewing::new(state.clone(), identity, tellings);
    let in_force = InForce::load(state.clone(), bootstrap_plan(&config.node, &config.bootstrap.uplinks));
    let (plan_changes, plan) = (in_force.plans(), in_force.plan());
    let (reports, report_changes) = watch::channel(None);
    let (news, lent) = mpsc::unbounded_channel();
    let (resolvers, resolver_changes) = watch::channel(BTreeMap::new());
    let (wireguard, segmentation) = (config.wireguard, config.segmentation);
    let certificate = tokio::spawn(watch_certificate(config.clone(), state.clone()));
    let session =
        Session::new(config, &state, (identity_changes, told), in_force, (report_changes, log), resolver_changes)?;
    let session = tokio::spawn(session.run());
    let segmentation = tokio::task::spawn_blocking(move || Segmentation::find(segmentation)).await?;
    tracing::info!(whole = segmentation.whole, why = segmentation.why, "segmentation");
    let machine = Machine::new(&state, wireguard, &segmentation, news, renewing)?;
    let kept = (state.clone(), PathBuf::from(RUN_DIR));
    let reconciler = Reconciler::new(kept, machine, segmentation, plan, resolvers, reports);
    let reconciler = tokio::spawn(reconciler.run(plan_changes, lent));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
        ended = certificate => anyhow::bail!("the watch over the certificate ended: {ended:?}"),
        ended = session => anyhow::bail!("the session task ended: {ended:?}"),
        ended = reconciler => anyhow::bail!("the reconciler ended: {ended:?}"),
    }
    clock.abort();
    clock::keep_now(&state);
    tracing::info!("stopping; traffic goes on");
    Ok(())
}

/// Tells in time that the node's certificate will end.
async fn watch_certificate(config: Config, state: StateDir) {
    loop {
        state.problems().put(Problem::Certificate, tls::ends_soon(&config, SystemTime::now()));
        tokio::time::sleep(CERTIFICATE_LOOK).await;
    }
}

/// Only one process at a time may change the node.
///
/// # Errors
/// Another one does.
pub fn lock() -> anyhow::Result<Flock<File>> {
    std::fs::create_dir_all(RUN_DIR)?;
    let path: PathBuf = Path::new(RUN_DIR).join("agent.lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => anyhow::anyhow!("another pathsteer-agent runs on this node: stop it first"),
        other => anyhow::anyhow!("cannot lock {}: {}", path.display(), io::Error::from(other)),
    })
}
