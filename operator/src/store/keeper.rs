//! Looks after etcd: notices that it does not answer, has no leader or no space, though nobody may be writing; and makes
//! room in the private one. Somebody else's etcd is never compacted or defragmented: its owner is told.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, StatusResponse};
use pathsteer_crds::keys;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::connect::words;
use super::disk::Disk;
use super::health::{Concern, Health};
use super::write::{Write, Writer};

/// Time between two looks. A member answers from memory.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same until it has answered once.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);
/// A private etcd takes a moment to start: that it does not answer yet is no news before this.
const START: Duration = Duration::from_secs(8);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Making room copies the whole database: if it was of no use, it is not tried again before this.
const RETRY: Duration = Duration::from_secs(60);
/// How long that may take.
const ROOM_PATIENCE: Duration = Duration::from_secs(120);
/// A key that never exists. To delete it shows whether writes are taken, and changes nothing.
const PROBE: &str = "probe";

/// Why no room was made.
#[derive(Debug, thiserror::Error)]
enum RoomError {
    #[error(transparent)]
    Etcd(#[from] etcd_client::Error),
    #[error("not done within {ROOM_PATIENCE:?}")]
    Slow(#[from] tokio::time::error::Elapsed),
}

/// Looks after one etcd.
pub struct Keeper {
    client: Client,
    writer: Writer,
    health: Arc<Health>,
    /// Of the private etcd, which is ours to compact and defragment; none: it is somebody else's.
    disk: Option<Disk>,
    /// When room was last made.
    made_room: Option<Instant>,
}

impl Keeper {
    pub fn new(client: Client, writer: Writer, health: Arc<Health>, disk: Option<Disk>) -> Keeper {
        Keeper { client, writer, health, disk, made_room: None }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        let began = Instant::now();
        let mut answered = false;
        loop {
            tokio::time::sleep(if answered { INTERVAL } else { FIRST_INTERVAL }).await;
            self.look_at_disk();
            match timeout(PATIENCE, self.client.maintenance_client().status()).await {
                Ok(Ok(status)) => {
                    answered = true;
                    self.health.well(Concern::Silence);
                    self.look(&status).await;
                }
                _ if !answered && began.elapsed() < START => {}
                Ok(Err(error)) => self.silent(&words(&error)),
                Err(_) => self.silent(&format!("no answer within {PATIENCE:?}")),
            }
        }
    }

    fn look_at_disk(&self) {
        match self.disk.as_ref().map(Disk::check) {
            Some(Err(full)) => self.health.warn(Concern::Disk, full.advice()),
            Some(Ok(())) | None => self.health.well(Concern::Disk),
        }
    }

    fn silent(&self, why: &str) {
        let sentence = format!("etcd does not answer ({why}): reads go on with what is known, writes are refused");
        self.health.warn(Concern::Silence, sentence);
    }

    async fn look(&mut self, status: &StatusResponse) {
        let is_full = status.errors().iter().any(|error| error.contains("NOSPACE"));
        match (is_full, self.disk.is_some()) {
            (false, _) => self.health.well(Concern::Space),
            (true, false) => self.health.warn(
                Concern::Space,
                "etcd has no space left (alarm NOSPACE) and refuses writes, reads go on: compact and defragment it or raise \
                 its --quota-backend-bytes, then run `etcdctl alarm disarm`",
            ),
            (true, true) if self.made_room.is_none_or(|at| at.elapsed() >= RETRY) => self.make_room(status).await,
            (true, true) => {}
        }
        if status.leader() == 0 {
            let sentence = "etcd has no leader, most of its members are out of reach: reads go on, writes are refused";
            self.health.warn(Concern::Writing, sentence);
        } else if self.health.is_warned(Concern::Writing) {
            // Its outcome is told to health by the writer itself.
            let probe = Write::delete(format!("{}{PROBE}", keys::ROOT));
            drop(self.writer.commit(vec![probe]).await);
        }
    }

    async fn make_room(&mut self, status: &StatusResponse) {
        self.made_room = Some(Instant::now());
        warn!(bytes = status.db_size(), "etcd has no space left: old revisions are dropped");
        match self.room(status).await {
            Ok(bytes) => {
                info!(bytes, "etcd has space again");
                self.health.warn(
                    Concern::Space,
                    format!(
                        "the private etcd was full and has been cleared of old revisions, {bytes} bytes are left; if it \
                         fills up again, start the operator with a larger --etcd-quota-bytes"
                    ),
                );
            }
            Err(error) => self.health.warn(
                Concern::Space,
                format!("the private etcd has no space left, and none could be made ({error}): is the disk full?"),
            ),
        }
    }

    /// Drops every revision but the newest, gives the space back, and takes the alarm off. Returns the bytes that are left.
    async fn room(&self, status: &StatusResponse) -> Result<i64, RoomError> {
        let revision = status.header().map_or(0, |header| header.revision());
        let mut maintenance = self.client.maintenance_client();
        let physical = etcd_client::CompactionOptions::new().with_physical();
        let mut kv = self.client.kv_client();
        // Compacted already up to there is as good.
        if let Err(error) = timeout(ROOM_PATIENCE, kv.compact(revision, Some(physical))).await? {
            warn!(%error, revision, "etcd does not compact");
        }
        timeout(ROOM_PATIENCE, maintenance.defragment()).await??;
        let raised = timeout(PATIENCE, maintenance.alarm(AlarmAction::Get, AlarmType::None, None)).await??;
        for alarm in raised.alarms().iter().filter(|alarm| alarm.alarm() == AlarmType::Nospace) {
            // An alarm is one member's; disarmed for none in particular it stays.
            let mut whose = AlarmOptions::new();
            whose.with_member(alarm.member_id());
            let disarm = maintenance.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(whose));
            timeout(PATIENCE, disarm).await??;
        }
        let after = timeout(ROOM_PATIENCE, maintenance.status()).await??;
        Ok(after.db_size())
    }
}
