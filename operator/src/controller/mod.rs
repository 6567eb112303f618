//! The controller: whenever something declared, allocated or said by a node changes, compile, publish, and say how
//! things stand. Level-triggered: a turn looks at everything and writes what differs, so a turn that failed is simply
//! taken again.

pub mod admission;
mod decision;
mod declared;
pub mod epoch;
mod events;
mod parsed;
pub mod preview;
mod publish;
mod ready;
mod status;

pub use publish::root;

use std::sync::Arc;
use std::time::Duration;

use pathsteer_compiler::Allocations;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::keys;
use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::session::Connected;
use crate::store::{Mirror, Snapshot, Topic, Write, WriteError, Writer};
use declared::Reader;
use publish::Publication;
use status::{Published, StatusWriter};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a turn waits for its own writes to come back. It must: a next turn that does not see them would take what
/// was published for what is wanted.
const ECHO: Duration = Duration::from_secs(10);

/// Why a turn was not finished.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(
        "{} cannot be read, and giving numbers out anew would interrupt every node: restore it, or delete it",
        keys::ALLOCATIONS
    )]
    Allocations(#[source] serde_json::Error),
}

/// Compiles, publishes and judges, for as long as the operator lives.
pub struct Controller {
    mirror: Arc<Mirror>,
    writer: Writer,
    connected: Arc<Connected>,
    inputs: watch::Receiver<i64>,
    reports: watch::Receiver<i64>,
    reader: Reader,
    status: StatusWriter,
}

impl Controller {
    pub fn new(mirror: Arc<Mirror>, writer: Writer, connected: Arc<Connected>) -> Controller {
        Controller {
            inputs: mirror.subscribe(Topic::Inputs),
            reports: mirror.subscribe(Topic::Reports),
            mirror,
            writer,
            connected,
            reader: Reader::default(),
            status: StatusWriter::default(),
        }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        while !self.mirror.reached(1, ECHO).await {
            info!("waiting for the store");
        }
        let mut connections = self.connected.subscribe();
        let mut published: Option<Published> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let turn = self.turn(&mut published).await;
            let wait = match turn {
                Ok(until_next_expiry) => {
                    pause = FIRST_PAUSE;
                    until_next_expiry
                }
                Err(error) => {
                    warn!(%error, "turn failed, it will be taken again");
                    published = None;
                    self.status.forget();
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            tokio::select! {
                _ = self.inputs.changed() => published = None,
                _ = self.reports.changed() => {}
                _ = connections.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Compiles and publishes if inputs changed, then says how things stand. Returns how long nothing is due by the
    /// clock.
    async fn turn(&mut self, published: &mut Option<Published>) -> Result<Duration, TurnError> {
        if self.inputs.has_changed().unwrap_or(false) || published.is_none() {
            self.inputs.mark_unchanged();
            *published = Some(self.compile().await?);
        }
        let Some(published) = published.as_ref() else { return Ok(LONGEST_PAUSE) };
        let now = OffsetDateTime::now_utc();
        let due = self
            .mirror
            .read(|snapshot| self.status.due(snapshot, published, |node| self.connected.contains(node), now));
        let mut writes = due.writes;
        for ((kind, key), generation) in due.expired {
            info!(%kind, key, "override removed, its time has run out");
            writes.push(Write::delete(keys::spec(kind, &key)).if_at(generation));
        }
        self.write(writes).await?;
        // Wakes once a day at least, which costs nothing and catches a clock that was set.
        let day = time::Duration::DAY;
        let wait = due.next_expiry.map_or(day, |at| (at - now).clamp(time::Duration::ZERO, day));
        Ok(wait.unsigned_abs())
    }

    async fn compile(&mut self) -> Result<Published, TurnError> {
        let (publication, declared, decision) = tokio::task::block_in_place(|| {
            // A copy, so that a long compilation does not hold up the reflector.
            let snapshot = self.mirror.read(Snapshot::clone);
            let declared = self.reader.read(&snapshot);
            let decision = decision::decide(&declared, &identities(&snapshot), &allocations(&snapshot)?);
            Ok::<_, TurnError>((Publication::prepare(&snapshot, &declared, &decision), declared, decision))
        })?;
        let faulty = publication.faulty.clone();
        let revision = publication.write(&self.writer).await?;
        self.echoed(revision).await;
        Ok(Published::new(declared, decision, faulty))
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        let revision = self.writer.commit(writes).await?;
        self.echoed(revision).await;
        Ok(())
    }

    async fn echoed(&self, revision: i64) {
        if !self.mirror.reached(revision, ECHO).await {
            warn!(revision, "own writes have not come back from the store");
        }
    }
}

fn allocations(snapshot: &Snapshot) -> Result<Allocations, TurnError> {
    match snapshot.get(keys::ALLOCATIONS) {
        Some(entry) => serde_json::from_str(&entry.value).map_err(TurnError::Allocations),
        None => Ok(Allocations::default()),
    }
}

fn identities(snapshot: &Snapshot) -> std::collections::BTreeMap<String, NodeIdentity> {
    let folder = format!("{}nodes/", keys::ROOT);
    let entries = snapshot.below(&folder).filter_map(|(key, entry)| {
        let node = key[folder.len()..].strip_suffix("/report/identity")?;
        Some((node.to_owned(), serde_json::from_str(&entry.value).ok()?))
    });
    entries.collect()
}
