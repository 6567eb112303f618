//! Which nodes have a plan stream open, how often they want to hear of it, and when they last reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pathsteer_crds::session::HEARTBEAT_SECONDS;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tracing::info;

/// Seconds. A stream that is silent for longer may have been forgotten by what is between the two.
const LONGEST_HEARTBEAT: u64 = 600;

/// The open plan streams. A node that dials anew over another uplink has two for a while.
#[derive(Debug, Default)]
pub struct Connected {
    streams: Mutex<BTreeMap<String, usize>>,
    /// RFC 3339, since the operator started.
    reported: Mutex<BTreeMap<String, String>>,
    /// Seconds between heartbeats, where a node has said.
    wishes: Mutex<BTreeMap<String, u64>>,
    /// Store epoch and generation of the plan in hand, where a node has said.
    orders: Mutex<BTreeMap<String, (u64, i64)>>,
    changed: watch::Sender<()>,
}

impl Connected {
    /// Counts a stream of `node` until the guard is dropped.
    pub fn enter(self: &Arc<Self>, node: &str) -> Guard {
        *self.lock().entry(node.to_owned()).or_default() += 1;
        info!(node, "plan stream opened");
        self.changed.send_replace(());
        Guard { connected: Arc::clone(self), node: node.to_owned() }
    }

    pub fn contains(&self, node: &str) -> bool {
        self.lock().contains_key(node)
    }

    /// Everybody who is.
    pub fn names(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
    }

    /// `node` wants a heartbeat every so many seconds; without a wish, as often as all others.
    pub fn wish(&self, node: &str, seconds: Option<u64>) {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        match seconds {
            Some(seconds) => wishes.insert(node.to_owned(), seconds.clamp(1, LONGEST_HEARTBEAT)),
            None => wishes.remove(node),
        };
    }

    /// How long the stream of `node` may be silent before there is a heartbeat.
    pub fn heartbeat(&self, node: &str) -> Duration {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_secs(wishes.get(node).copied().unwrap_or(HEARTBEAT_SECONDS))
    }

    /// `node` has the plan of this store epoch and generation.
    pub fn has(&self, node: &str, order: (u64, i64)) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), order);
    }

    /// Store epoch and generation of the plan that `node` said it has; none before its first hello.
    pub fn order(&self, node: &str) -> Option<(u64, i64)> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    /// A report of `node` came just now.
    pub fn report_came(&self, node: &str) {
        let now = time::OffsetDateTime::now_utc();
        let at = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), at);
    }

    /// When the last report of `node` came, RFC 3339; none since the operator started.
    pub fn reported_at(&self, node: &str) -> Option<String> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Follows changes of who is connected.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open plan stream.
#[derive(Debug)]
pub struct Guard {
    connected: Arc<Connected>,
    node: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut streams = self.connected.lock();
        if let Some(count) = streams.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.node);
            }
        }
        drop(streams);
        info!(node = self.node, "plan stream closed");
        self.connected.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_connected_until_its_last_stream_ends() {
        let connected = Arc::new(Connected::default());
        let first = connected.enter("rv-07");
        let second = connected.enter("rv-07");
        drop(first);
        assert!(connected.contains("rv-07"));
        drop(second);
        assert!(!connected.contains("rv-07"));
    }
}
