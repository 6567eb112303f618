//! Writes, alone or together, that can be tied to what was read.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, KvClient, Txn, TxnOp, TxnOpResponse};
use pathsteer_crds::{Kind, keys};

use super::connect::words;
use super::disk::{Disk, DiskFull};
use super::health::{Concern, Health};

/// etcd takes at most 128 operations a transaction by default; comparisons count too.
const OPERATIONS: usize = 100;
/// etcd takes requests of 1.5 MB by default; stay clear of it.
const BYTES: usize = 1 << 20;
/// The largest answer taken, bytes: it grows with the transaction. The default of 4 MB is not enough for all.
const ANSWER_LIMIT: usize = 64 << 20;
/// How long a transaction may take before it counts as failed. It may still happen: writers look again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One key to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    /// None deletes the key.
    pub value: Option<String>,
    /// Only if the key's mod_revision is this (0: only if there is no such key).
    pub expected: Option<i64>,
}

impl Write {
    pub fn put(key: impl Into<String>, value: impl Into<String>) -> Write {
        Write { key: key.into(), value: Some(value.into()), expected: None }
    }

    pub fn delete(key: impl Into<String>) -> Write {
        Write { key: key.into(), value: None, expected: None }
    }

    /// Deletes the spec of an object, and says with it that this is meant: what merely vanishes together with many
    /// others is kept in force.
    pub fn delete_object(kind: Kind, key: &str) -> [Write; 2] {
        [Write::put(keys::deleting(kind, key), "{}"), Write::delete(keys::spec(kind, key))]
    }

    /// The same, but only if the key's mod_revision is `revision` (0: if there is no such key).
    pub fn if_at(self, revision: i64) -> Write {
        Write { expected: Some(revision), ..self }
    }
}

/// A key as it is in the store right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub store_revision: i64,
    /// 0 if there is no such key.
    pub mod_revision: i64,
    pub value: Option<String>,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{key} was changed by somebody else")]
    Conflict { key: String },
    #[error("etcd has no space left (alarm NOSPACE)")]
    Full,
    #[error("etcd does not let this operator write: {0}")]
    Forbidden(String),
    #[error("etcd takes no transaction of this size: {0}")]
    TooLarge(String),
    #[error("etcd: {}", words(.0))]
    Etcd(etcd_client::Error),
    #[error("etcd did not answer within {TIMEOUT:?}")]
    Slow,
    #[error(transparent)]
    Disk(#[from] DiskFull),
}

impl From<etcd_client::Error> for WriteError {
    fn from(error: etcd_client::Error) -> WriteError {
        let etcd_client::Error::GRpcStatus(status) = &error else { return WriteError::Etcd(error) };
        let said = status.message().to_owned();
        // etcd's codes are not enough: no space and too large a request share one.
        if said.contains("database space exceeded") {
            WriteError::Full
        } else if said.contains("permission denied") || said.contains("auth") {
            WriteError::Forbidden(said)
        } else if said.contains("too many operations in txn") || said.contains("too large") {
            WriteError::TooLarge(said)
        } else {
            WriteError::Etcd(error)
        }
    }
}

/// Writes to the store.
#[derive(Clone)]
pub struct Writer {
    kv: KvClient,
    health: Arc<Health>,
    /// Of the private etcd, if it is one.
    disk: Option<Disk>,
}

impl Writer {
    /// What goes wrong with writing is told to `health`.
    pub fn new(client: &Client, health: Arc<Health>) -> Writer {
        Writer { kv: client.kv_client().max_decoding_message_size(ANSWER_LIMIT), health, disk: None }
    }

    /// The same for an etcd that may fail because `disk` is full.
    pub fn on(self, disk: Option<Disk>) -> Writer {
        Writer { disk, ..self }
    }

    /// Writes in the order given, in transactions of up to 100 operations: each is all or nothing. Returns the
    /// store revision after the last.
    ///
    /// # Errors
    /// A key is not at its expected revision, or etcd failed; transactions before that one have been written.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<i64, WriteError> {
        let mut revision = 0;
        for chunk in chunks(writes) {
            revision = self.transact(&chunk).await?;
        }
        Ok(revision)
    }

    /// Writes all or nothing, in one transaction, so that nobody sees half of it. Only where etcd takes none so large it
    /// is done like [`commit`](Writer::commit), and [`Health`] says so. Returns the store revision after it.
    ///
    /// # Errors
    /// As of [`commit`](Writer::commit).
    pub async fn commit_whole(&self, writes: Vec<Write>) -> Result<i64, WriteError> {
        if writes.is_empty() {
            return Ok(0);
        }
        match self.transact(&writes).await {
            Ok(revision) => {
                if writes.len() > OPERATIONS {
                    self.health.well(Concern::Steps);
                }
                Ok(revision)
            }
            Err(WriteError::TooLarge(said)) if writes.len() > 1 => {
                let warning = format!(
                    "{} changes were written in several steps, because etcd refuses them in one ({said}): start it with \
                     --max-txn-ops=10000 --max-request-bytes=33554432",
                    writes.len()
                );
                self.health.warn(Concern::Steps, warning);
                self.commit(writes).await
            }
            result => result,
        }
    }

    /// The current value of `key`, read through consensus: never behind what anybody has read or written.
    ///
    /// # Errors
    /// etcd failed.
    pub async fn read(&self, key: &str) -> Result<Current, WriteError> {
        let got = within(self.kv.clone().get(key, None)).await?;
        let found = got.kvs().first();
        Ok(Current {
            store_revision: got.header().map_or(0, |header| header.revision()),
            mod_revision: found.map_or(0, KeyValue::mod_revision),
            value: found.map(|kv| String::from_utf8_lossy(kv.value()).into_owned()),
        })
    }

    async fn transact(&self, writes: &[Write]) -> Result<i64, WriteError> {
        let result = self.attempt(writes).await.map_err(|error| match (error, &self.disk) {
            // That etcd is gone, or hangs, is what comes of it.
            (error @ (WriteError::Etcd(_) | WriteError::Slow), Some(disk)) => {
                disk.check().err().map_or(error, Into::into)
            }
            (error, _) => error,
        });
        match &result {
            Ok(_) | Err(WriteError::Conflict { .. }) => self.health.well(Concern::Writing),
            // The keeper says that, with the remedy; and what is too large for one says nothing about others.
            Err(WriteError::Full | WriteError::TooLarge(_)) => {}
            Err(WriteError::Disk(full)) => self.health.warn(Concern::Disk, full.advice()),
            Err(error) => self.health.warn(Concern::Writing, error.advice()),
        }
        result
    }

    async fn attempt(&self, writes: &[Write]) -> Result<i64, WriteError> {
        let tied: Vec<(&str, i64)> = writes.iter().filter_map(|write| Some((&*write.key, write.expected?))).collect();
        let compares: Vec<_> =
            tied.iter().map(|(key, expected)| Compare::mod_revision(*key, CompareOp::Equal, *expected)).collect();
        let operations: Vec<_> = writes
            .iter()
            .map(|write| match &write.value {
                Some(value) => TxnOp::put(write.key.as_str(), value.as_str(), None),
                None => TxnOp::delete(write.key.as_str(), None),
            })
            .collect();
        let look: Vec<_> =
            tied.iter().map(|(key, _)| TxnOp::get(*key, Some(GetOptions::new().with_keys_only()))).collect();
        let answer = within(self.kv.clone().txn(Txn::new().when(compares).and_then(operations).or_else(look))).await?;
        if answer.succeeded() {
            return Ok(answer.header().map_or(0, |header| header.revision()));
        }
        let found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().map_or(0, KeyValue::mod_revision),
            _ => 0,
        });
        let mut changed = tied.into_iter().zip(found).filter(|((_, expected), found)| expected != found);
        let key = changed.next().map_or_else(|| "a key".to_owned(), |((key, _), _)| key.to_owned());
        Err(WriteError::Conflict { key })
    }
}

impl WriteError {
    /// What people are told while writing fails so.
    fn advice(&self) -> String {
        format!("the store takes no writes, reads go on ({self}): what runs keeps running")
    }
}

async fn within<T>(request: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, WriteError> {
    Ok(tokio::time::timeout(TIMEOUT, request).await.map_err(|_| WriteError::Slow)??)
}

fn chunks(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut chunks: Vec<Vec<Write>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let size = write.key.len() + write.value.as_ref().map_or(0, String::len);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < OPERATIONS && bytes + size <= BYTES => {
                bytes += size;
                chunk.push(write);
            }
            _ => {
                bytes = size;
                chunks.push(vec![write]);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_stay_below_the_limits_of_etcd_and_keep_the_order() {
        let many: Vec<_> = (0..250).map(|n| Write::put(format!("{n:03}"), "")).collect();
        let sizes: Vec<_> = chunks(many.clone()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(chunks(many.clone()).concat(), many);
        let big: Vec<_> = (0..3).map(|n| Write::put(n.to_string(), "x".repeat(600_000))).collect();
        assert_eq!(chunks(big).len(), 3);
    }
}
