//! Which nodes have a plan stream open, and when they last reported.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tracing::info;

/// The open plan streams. A node that dials anew over another uplink has two for a while.
#[derive(Debug, Default)]
pub struct Connected {
    streams: Mutex<BTreeMap<String, usize>>,
    /// RFC 3339, since the operator started.
    reported: Mutex<BTreeMap<String, String>>,
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
