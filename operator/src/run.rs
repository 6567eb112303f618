//! `run`: store, mirror, controller and API, until a signal.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::{self, ListenError, Listener, Server};
use crate::args::Run;
use crate::controller::{Controller, Memory};
use crate::data_dir::{self, DataDirError};
use crate::etcd::{EtcdError, PrivateEtcd};
use crate::pki::{Authority, AuthorityError};
use crate::session::Connected;
use crate::store::{self, ConnectError, Disk, Health, Keeper, Mirror, Writer};

/// Why the operator does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
}

/// Runs the operator until SIGINT or SIGTERM.
///
/// # Errors
/// Whatever keeps it from starting. Once it runs it only ends when told to.
pub async fn run(arguments: Run) -> Result<(), RunError> {
    let Run { data_dir, listen, server_names, etcd, etcd_quota_bytes } = arguments;
    let _lock = data_dir::lock_whole(&data_dir)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;

    let authority = Authority::open(&data_dir)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(server_names);
    let listener = Listener::bind(listen, authority, names).await?;

    let cluster = etcd.cluster();
    let mut private = None;
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => private.insert(PrivateEtcd::start(&data_dir, etcd_quota_bytes)?).cluster(),
    };
    let client = store::connect(&cluster).await?;

    let (mirror, connected) = (Arc::new(Mirror::default()), Arc::new(Connected::default()));
    let health = Arc::new(Health::default());
    let disk = private.as_ref().map(|_| Disk::of(&data_dir));
    let writer = Writer::new(&client, Arc::clone(&health)).on(disk.clone());
    let ending = CancellationToken::new();
    let memory = Memory::open(&data_dir);
    let controller =
        Controller::new(Arc::clone(&mirror), writer.clone(), Arc::clone(&connected), memory, Arc::clone(&health));
    let keeper = Keeper::new(client.clone(), writer.clone(), Arc::clone(&health), disk);
    let keeper = tokio::spawn(keeper.run());
    let reflector = tokio::spawn(store::reflect(client, Arc::clone(&mirror), Arc::clone(&health)));
    let controller = tokio::spawn(controller.run());
    let router = api::router(Server {
        mirror,
        writer,
        connected,
        questions: Arc::default(),
        limits: Arc::default(),
        health,
        ending: ending.clone(),
    });
    let address = listener.address().unwrap_or(listen);
    let serving = tokio::spawn(listener.serve(router, ending.clone()));
    info!(%address, version = env!("CARGO_PKG_VERSION"), "operator runs");

    tokio::select! {
        _ = interrupt.recv() => info!("SIGINT, ending"),
        _ = terminate.recv() => info!("SIGTERM, ending"),
    }
    ending.cancel();
    // Requests first, so that what they wrote still reaches the store.
    if serving.await.is_err() {
        tracing::warn!("the accept loop ended badly");
    }
    controller.abort();
    // In the midst of a compilation it ends only after that; until then the runtime must live.
    drop(controller.await);
    reflector.abort();
    keeper.abort();
    if let Some(mut private) = private {
        tokio::task::block_in_place(|| private.stop());
    }
    Ok(())
}
