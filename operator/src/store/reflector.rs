//! The loop that keeps the [`Mirror`] current: list everything at one revision, watch from the next, and begin again
//! whenever the watch ends.
//!
//! A watch is never resumed: after a restore of the store from a backup its revisions run backwards, and a watch from
//! a revision that is still to come stays silent without an error. A list is cheap and always right.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions};
use pathsteer_crds::keys;
use tracing::{info, warn};

use super::connect::words;
use super::health::{Concern, Health};
use super::mirror::{Entries, Entry, Mirror, Snapshot};

/// Keys asked for at once. etcd's own limit for a value is 1.5 MB; ours are a few kB.
const PAGE: i64 = 500;
/// The largest message taken from etcd, bytes. The default of 4 MB is one page of big fragments.
const MESSAGE_LIMIT: usize = 256 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A store that did not answer until the pause between them is this long, is worth a line.
const NEWS: Duration = Duration::from_secs(1);
/// How long one page of the list may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the mirror is not current.
#[derive(Debug, thiserror::Error)]
enum ReflectError {
    #[error("etcd: {}", words(.0))]
    Etcd(#[from] etcd_client::Error),
    #[error("etcd did not answer within {PAGE_TIMEOUT:?}")]
    Slow,
    #[error("the watch was cancelled: {0}")]
    Cancelled(String),
    #[error("the watch ended")]
    Ended,
    #[error("etcd answered without a header")]
    Headless,
}

/// Keeps `mirror` current until the task is dropped. Never gives up: without etcd everybody works on with the last
/// copy.
pub async fn reflect(client: Client, mirror: Arc<Mirror>, health: Arc<Health>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match list(&client).await {
            Ok(snapshot) => {
                pause = FIRST_PAUSE;
                let revision = snapshot.revision;
                info!(revision, keys = snapshot.entries.len(), "store listed");
                mirror.replace(snapshot);
                health.well(Concern::Reading);
                let Err(error) = watch(&client, &mirror, revision).await;
                warn!(%error, "store watch ended, listing again");
            }
            Err(error) => {
                pause = (pause * 2).min(LONGEST_PAUSE);
                // A private etcd takes a moment to start: no news yet.
                if pause >= NEWS {
                    warn!(%error, "store cannot be listed");
                    let sentence = format!("the store cannot be read, what is shown may be old ({error})");
                    health.warn(Concern::Reading, sentence);
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Why the store cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ListError(#[from] ReflectError);

/// Everything of ours at one revision, from an etcd that may take up to `patience` to answer.
///
/// # Errors
/// It has not answered, or not completely.
pub async fn list_within(client: &Client, patience: Duration) -> Result<Snapshot, ListError> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match list(client).await {
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(FIRST_PAUSE).await,
            Ok(snapshot) => return Ok(snapshot),
        }
    }
}

/// Everything of ours at one revision, page by page.
async fn list(client: &Client) -> Result<Snapshot, ReflectError> {
    let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_LIMIT);
    let (mut revision, mut entries) = (0, Entries::new());
    let end = end_of_prefix(keys::ROOT);
    let mut from = keys::ROOT.as_bytes().to_vec();
    loop {
        let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
        let page = tokio::time::timeout(PAGE_TIMEOUT, kv.get(from.clone(), Some(options)))
            .await
            .map_err(|_| ReflectError::Slow)??;
        if revision == 0 {
            revision = page.header().ok_or(ReflectError::Headless)?.revision();
        }
        entries.extend(page.kvs().iter().filter_map(entry));
        match page.kvs().last() {
            Some(last) if page.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            _ => return Ok(Snapshot::listed(revision, entries)),
        }
    }
}

/// Applies what happens after `revision`, for as long as the watch lives.
async fn watch(client: &Client, mirror: &Mirror, revision: i64) -> Result<std::convert::Infallible, ReflectError> {
    let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
    let mut watcher = client.watch_client().max_decoding_message_size(MESSAGE_LIMIT);
    let mut stream = watcher.watch(keys::ROOT, Some(options)).await?;
    while let Some(message) = stream.message().await? {
        if message.canceled() {
            return Err(ReflectError::Cancelled(message.cancel_reason().to_owned()));
        }
        let changes: Vec<_> = message
            .events()
            .iter()
            .filter_map(|event| {
                let kv = event.kv()?;
                match event.event_type() {
                    EventType::Put => entry(kv).map(|(key, entry)| (key, Some(entry))),
                    EventType::Delete => Some((kv.key_str().ok()?.to_owned(), None)),
                }
            })
            .collect();
        // The newest revision among the events, not the header's: that may be ahead of what the message holds.
        let newest = message.events().iter().filter_map(|event| event.kv()).map(KeyValue::mod_revision).max();
        if let Some(newest) = newest {
            mirror.apply(newest, changes);
        }
    }
    Err(ReflectError::Ended)
}

/// Keys and values that are no text are not ours, whoever wrote them.
fn entry(kv: &KeyValue) -> Option<(String, Entry)> {
    let key = kv.key_str().ok()?.to_owned();
    // A value that is no text must still exist (to be refused by admission), so it is shown with replacement signs.
    let value = String::from_utf8_lossy(kv.value()).into();
    Some((key, Entry { value, mod_revision: kv.mod_revision() }))
}

fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Our prefix ends with `/`, so the last byte never overflows.
    *end.last_mut().expect("a prefix is never empty") += 1;
    end
}
