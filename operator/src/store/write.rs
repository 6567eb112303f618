//! Writes, alone or together, that can be tied to what was read.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, KvClient, Txn, TxnOp, TxnOpResponse};
use pathsteer_crds::{Kind, keys};

/// etcd takes at most 128 operations a transaction by default; comparisons count too.
const OPERATIONS: usize = 100;
/// etcd takes requests of 1.5 MB by default; stay clear of it.
const BYTES: usize = 1 << 20;
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
    #[error("etcd: {0}")]
    Etcd(#[from] etcd_client::Error),
    #[error("etcd did not answer within {TIMEOUT:?}")]
    Slow,
}

/// Writes to the store.
#[derive(Clone)]
pub struct Writer {
    kv: KvClient,
}

impl Writer {
    pub fn new(client: &Client) -> Writer {
        Writer { kv: client.kv_client() }
    }

    /// Writes in the order given, in transactions of up to 100 operations: each is all or nothing. Returns the
    /// store revision after the last.
    ///
    /// # Errors
    /// A key is not at its expected revision, or etcd failed; transactions before that one have been written.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<i64, WriteError> {
        let mut revision = 0;
        for chunk in chunks(writes) {
            revision = self.transact(chunk).await?;
        }
        Ok(revision)
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

    async fn transact(&self, writes: Vec<Write>) -> Result<i64, WriteError> {
        let tied: Vec<(String, i64)> = writes.iter().filter_map(|w| Some((w.key.clone(), w.expected?))).collect();
        let compares: Vec<_> = tied
            .iter()
            .map(|(key, expected)| Compare::mod_revision(key.as_str(), CompareOp::Equal, *expected))
            .collect();
        let operations: Vec<_> = writes
            .into_iter()
            .map(|write| match write.value {
                Some(value) => TxnOp::put(write.key, value, None),
                None => TxnOp::delete(write.key, None),
            })
            .collect();
        let look: Vec<_> =
            tied.iter().map(|(key, _)| TxnOp::get(key.as_str(), Some(GetOptions::new().with_keys_only()))).collect();
        let answer = within(self.kv.clone().txn(Txn::new().when(compares).and_then(operations).or_else(look))).await?;
        if answer.succeeded() {
            return Ok(answer.header().map_or(0, |header| header.revision()));
        }
        let found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().map_or(0, KeyValue::mod_revision),
            _ => 0,
        });
        let mut changed = tied.into_iter().zip(found).filter(|((_, expected), found)| expected != found);
        let key = changed.next().map_or_else(|| "a key".to_owned(), |((key, _), _)| key);
        Err(WriteError::Conflict { key })
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
