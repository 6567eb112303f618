//! The controller: whenever something declared, allocated or said by a node changes, compile, publish, and say how
//! things stand. Level-triggered: a turn compares what there is with what the last one saw and finished, and writes what
//! differs; after one that failed everything is looked at again.

pub mod admission;
mod affected;
mod decision;
mod declared;
pub mod epoch;
mod events;
mod fleet;
mod guard;
mod memory;
pub mod preview;
mod publish;
mod ready;
mod status;

pub use memory::Memory;
pub use publish::root;

use std::sync::Arc;
use std::time::Duration;

use pathsteer_crds::keys;
use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::session::Connected;
use crate::store::{Concern, Health, Mirror, Snapshot, Topic, Write, WriteError, Writer};
use decision::{Decider, Decision, Reason};
use declared::Reader;
use guard::Guard;
use memory::Known;
use publish::{Done, Publication};
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
    #[error(
        "{0} is gone although plans are published, and giving numbers out anew would interrupt every node: restore it; \
         or put `{{}}` there to have them given out anew",
        keys::ALLOCATIONS
    )]
    NoAllocations,
}

/// Compiles, publishes and judges, for as long as the operator lives.
pub struct Controller {
    mirror: Arc<Mirror>,
    writer: Writer,
    connected: Arc<Connected>,
    inputs: watch::Receiver<i64>,
    reports: watch::Receiver<i64>,
    reader: Reader,
    decider: Decider,
    /// What has been published.
    done: Done,
    status: StatusWriter,
    memory: Memory,
    health: Arc<Health>,
    /// Whether vanished objects are kept in force.
    guarded: bool,
}

impl Controller {
    pub fn new(
        mirror: Arc<Mirror>,
        writer: Writer,
        connected: Arc<Connected>,
        memory: Memory,
        health: Arc<Health>,
    ) -> Controller {
        Controller {
            inputs: mirror.subscribe(Topic::Inputs),
            reports: mirror.subscribe(Topic::Reports),
            mirror,
            writer,
            connected,
            reader: Reader::default(),
            decider: Decider::default(),
            done: Done::default(),
            status: StatusWriter::default(),
            memory,
            health,
            guarded: false,
        }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        while !self.mirror.reached(1, ECHO).await {
            info!("waiting for the store");
        }
        let mut connections = self.connected.subscribe();
        let mut published: Option<Arc<Published>> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let turn = self.turn(&mut published).await;
            let wait = match turn {
                Ok(wait) => {
                    pause = FIRST_PAUSE;
                    self.health.well(Concern::Publishing);
                    wait
                }
                Err(error) => {
                    warn!(%error, "turn failed, it will be taken again");
                    // What failed to be written is another concern, and a conflict is none.
                    if !matches!(error, TurnError::Write(_)) {
                        self.health.warn(Concern::Publishing, format!("no plans are published: {error}"));
                    }
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
    async fn turn(&mut self, published: &mut Option<Arc<Published>>) -> Result<Duration, TurnError> {
        if self.inputs.has_changed().unwrap_or(false) || published.is_none() {
            self.inputs.mark_unchanged();
            *published = self.compile().await?.map(Arc::new);
        }
        let Some(published) = published.as_ref() else { return Ok(LONGEST_PAUSE) };
        let now = OffsetDateTime::now_utc();
        let (snapshot, connected) = (self.mirror.read(Snapshot::clone), self.connected.names());
        let due = tokio::task::block_in_place(|| self.status.due(&snapshot, published, &connected, now));
        let mut writes = due.writes;
        for ((kind, key), generation) in due.expired {
            info!(%kind, key, "override removed, its time has run out");
            let [meant, delete] = Write::delete_object(kind, &key);
            writes.extend([meant, delete.if_at(generation)]);
        }
        self.write(writes).await?;
        // Wakes once a day at least, which costs nothing and catches a clock that was set.
        let day = time::Duration::DAY;
        let wait = due.wake.map_or(day, |at| (at - now).clamp(time::Duration::ZERO, day));
        Ok(wait.unsigned_abs())
    }

    /// None if what is declared has vanished so far that nothing can be compiled: all plans stay as they are.
    async fn compile(&mut self) -> Result<Option<Published>, TurnError> {
        let (snapshot, mut declared, known, guard) = tokio::task::block_in_place(|| {
            let snapshot = self.mirror.read(Snapshot::clone);
            let declared = self.reader.read(&snapshot);
            let known = self.memory.fill_in(&snapshot).map_err(TurnError::Allocations)?;
            let mut vanished = self.reader.vanished();
            guard::add_nodes(&mut vanished, &snapshot, &declared, known.allocations.as_deref());
            let guard = Guard::judge(&snapshot, &declared, vanished, self.guarded);
            Ok::<_, TurnError>((snapshot, declared, known, guard))
        })?;
        let nothing_vanished = guard.sentence().map(|sentence| self.health.warn(Concern::Vanished, sentence)).is_none();
        self.guarded = !guard.withheld.is_empty();
        if let Some(write) = guard.write.clone() {
            self.write(vec![write]).await?;
        }
        if guard.is_blind() {
            return Ok(None);
        }
        declared.extend(guard.as_declared());
        let (decision, plans, publication) = tokio::task::block_in_place(|| {
            if known.allocations.is_none() && guard::has_plans(&snapshot) {
                return Err(TurnError::NoAllocations);
            }
            let allocations = known.allocations.as_deref();
            let given = allocations.cloned().unwrap_or_default();
            let mut decision = self.decider.decide(&declared, &known.identities, &given);
            for id in guard.withheld.keys() {
                let sentence = "its spec has vanished together with others, it is kept in force".to_owned();
                decision.warned.entry(id.clone()).or_default().push(Reason { word: "Vanished".into(), sentence });
            }
            let compiled = std::mem::take(&mut decision.compiled.plans);
            let plans = publish::cut(compiled, &self.done.plans);
            let subject = (&decision, allocations);
            let mut publication =
                Publication::prepare(&snapshot, &declared, subject, &plans, known.store_epoch, &self.done);
            publication.and_last(guard.lifted);
            Ok((decision, plans, publication))
        })?;
        // Until all of it is written nothing is known to be.
        self.done = Done { plans: plans.clone(), ..Done::default() };
        let faulty = publication.faulty.clone();
        let revision = publication.write(&self.writer).await?;
        self.echoed(revision).await;
        // Only now everything is back where it was.
        if nothing_vanished {
            self.health.well(Concern::Vanished);
        }
        self.done = Done {
            entries: snapshot.entries,
            declared: declared.clone(),
            plans: plans.clone(),
            store_epoch: known.store_epoch,
            faulty: faulty.clone(),
        };
        let mut identities = known.identities.clone();
        for node in known.identities.keys().filter(|node| !Decision::is_node(&declared, node)) {
            identities.remove(node);
        }
        let allocations = known.allocations.filter(|given| **given == decision.compiled.allocations);
        let allocations = allocations.unwrap_or_else(|| Arc::new(decision.compiled.allocations.clone()));
        self.memory.keep(Known { store_epoch: known.store_epoch, allocations: Some(allocations), identities });
        Ok(Some(Published { declared, decision, faulty, plans }))
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
