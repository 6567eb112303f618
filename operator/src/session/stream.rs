//! The plan stream: what a node does not have yet, then whatever is published, as newline-delimited JSON.

use std::collections::BTreeSet;
use std::convert::Infallible;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pathsteer_crds::keys;
use pathsteer_crds::session::SessionEvent;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{NodeName, Problem, Query, Server};
use crate::controller;
use crate::store::{Snapshot, Topic};

/// Lines ahead of a slow reader; beyond it the stream waits, and what became old meanwhile is never sent.
const BUFFER: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Revision of the root the node has; 0: none.
    #[serde(default)]
    revision: i64,
}

pub async fn plan(
    NodeName(node): NodeName,
    State(server): State<Server>,
    Query(resume): Query<Resume>,
) -> Result<Response, Problem> {
    let (lines, body) = mpsc::channel(BUFFER);
    tokio::spawn(feed(server, node, resume.revision, lines));
    let body = axum::body::Body::from_stream(ReceiverStream::new(body));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Sends events until the node goes away or the operator ends.
async fn feed(server: Server, node: String, revision: i64, lines: mpsc::Sender<Result<Bytes, Infallible>>) {
    let _guard = server.connected.enter(&node);
    let heartbeat = server.connected.heartbeat(&node);
    let mut questions = server.questions.listen(&node);
    let mut changes = server.mirror.subscribe(Topic::Plan(node.clone()));
    let order = server.connected.order(&node);
    let revision = server.mirror.read(|snapshot| resumed(snapshot, &node, revision, order));
    let mut sent = Sent { revision, fragments: BTreeSet::new() };
    let mut asked = None;
    loop {
        let mut events = server.mirror.read(|snapshot| sent.next(snapshot, &node));
        events.extend(asked);
        if events.is_empty() {
            events.push(SessionEvent::Heartbeat);
        }
        for event in events {
            let mut line = serde_json::to_vec(&event).unwrap_or_default();
            line.push(b'\n');
            if lines.send(Ok(line.into())).await.is_err() {
                return;
            }
        }
        asked = tokio::select! {
            // Of what was asked while a slow reader held the stream up, the oldest is given up.
            question = questions.recv() => question.ok(),
            _ = changes.changed() => None,
            () = tokio::time::sleep(heartbeat) => None,
            () = lines.closed() => return,
            () = server.ending.cancelled() => return,
        }
    }
}

/// The revision that the node really has, of the store that this is. After a restore another root may have by chance the
/// revision that the node remembers; then what it has said of its plan does not fit.
fn resumed(snapshot: &Snapshot, node: &str, revision: i64, order: Option<(u64, i64)>) -> i64 {
    let Some(order) = order else { return revision };
    match controller::root(snapshot, node) {
        Some((at, root)) if at == revision && (root.store_epoch, root.generation) != order => 0,
        _ => revision,
    }
}

/// What the node has been sent.
struct Sent {
    /// Of the root, or of the withdrawal.
    revision: i64,
    /// Fragments sent in this stream and named by the last root.
    fragments: BTreeSet<String>,
}

impl Sent {
    /// What to send so that the node has what this snapshot holds. Any other revision than the one sent counts, not
    /// only a higher one: in a store restored from a backup they run backwards.
    fn next(&mut self, snapshot: &Snapshot, node: &str) -> Vec<SessionEvent> {
        let Some((revision, root)) = controller::root(snapshot, node) else {
            return self.withdrawn(snapshot, node);
        };
        if revision == self.revision {
            return Vec::new();
        }
        let mut events = Vec::new();
        let named: BTreeSet<String> = root.fragments.values().cloned().collect();
        for sha256 in named.difference(&self.fragments) {
            // One snapshot holds a root with all its fragments: they are written before it and removed after the next.
            let Some(entry) = snapshot.get(&keys::plan_fragment(node, sha256)) else {
                tracing::error!(node, sha256, "a fragment of a published plan is missing, the plan is not sent");
                return Vec::new();
            };
            events.push(SessionEvent::Fragment { sha256: sha256.clone(), json: entry.value.to_string() });
        }
        events.push(SessionEvent::Root { revision, root });
        *self = Sent { revision, fragments: named };
        events
    }

    fn withdrawn(&mut self, snapshot: &Snapshot, node: &str) -> Vec<SessionEvent> {
        match snapshot.get(&keys::plan_withdrawn(node)) {
            Some(entry) if entry.mod_revision != self.revision => {
                *self = Sent { revision: entry.mod_revision, fragments: BTreeSet::new() };
                vec![SessionEvent::Gone { revision: self.revision }]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pathsteer_crds::canonical;
    use pathsteer_crds::plan::{PLAN_VERSION, PlanRoot, Role};

    use super::*;
    use crate::store::Entry;

    fn snapshot(revision: i64, fragments: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut root = PlanRoot {
            version: PLAN_VERSION,
            node: "rv-07".into(),
            role: Role::Edge,
            store_epoch: 1,
            generation: revision,
            fragments: BTreeMap::new(),
        };
        let entry = |value: &str| Entry { value: value.into(), mod_revision: revision };
        for json in fragments {
            let sha256 = canonical::sha256(json.as_bytes());
            snapshot.entries.insert(keys::plan_fragment("rv-07", &sha256), entry(json));
            root.fragments.insert(format!("links/{sha256}"), sha256);
        }
        snapshot.entries.insert(keys::plan_root("rv-07"), entry(&canonical::to_json(&root)));
        snapshot
    }

    fn kinds(events: &[SessionEvent]) -> String {
        let kind = |event: &SessionEvent| match event {
            SessionEvent::Fragment { .. } => 'f',
            SessionEvent::Root { .. } => 'r',
            SessionEvent::Gone { .. } => 'g',
            SessionEvent::Log { .. } => 'l',
            SessionEvent::Heartbeat => 'h',
            SessionEvent::Unknown => '?',
        };
        events.iter().map(kind).collect()
    }

    fn sent(revision: i64) -> Sent {
        Sent { revision, fragments: BTreeSet::new() }
    }

    #[test]
    fn fragments_go_before_the_root_and_only_once() {
        let mut sent = sent(0);
        assert_eq!(kinds(&sent.next(&snapshot(5, &["1", "2"]), "rv-07")), "ffr");
        assert_eq!(kinds(&sent.next(&snapshot(5, &["1", "2"]), "rv-07")), "");
        assert_eq!(kinds(&sent.next(&snapshot(8, &["2", "3"]), "rv-07")), "fr");
        assert_eq!(
            kinds(&sent.next(&snapshot(9, &["1", "3"]), "rv-07")),
            "fr",
            "a fragment dropped meanwhile goes again"
        );
    }

    #[test]
    fn a_node_that_has_the_newest_root_gets_nothing_and_one_from_the_future_gets_it() {
        assert_eq!(kinds(&sent(5).next(&snapshot(5, &["1"]), "rv-07")), "");
        assert_eq!(kinds(&sent(500).next(&snapshot(5, &["1"]), "rv-07")), "fr");
    }

    #[test]
    fn a_revision_that_is_the_same_by_chance_is_not_taken_for_the_plan_in_hand() {
        let store = snapshot(5, &["1"]);
        assert_eq!(resumed(&store, "rv-07", 5, Some((1, 5))), 5);
        assert_eq!(resumed(&store, "rv-07", 5, None), 5, "a node that never said");
        assert_eq!(resumed(&store, "rv-07", 5, Some((1, 500))), 0, "of the store before it was restored");
        assert_eq!(resumed(&store, "rv-07", 4, Some((1, 4))), 4);
    }

    #[test]
    fn a_plan_counts_as_gone_only_if_it_was_withdrawn_not_if_the_store_is_empty() {
        let mut empty = Snapshot::default();
        assert_eq!(kinds(&sent(5).next(&empty, "rv-07")), "");
        let entry = Entry { value: "{}".into(), mod_revision: 9 };
        empty.entries.insert(keys::plan_withdrawn("rv-07"), entry);
        let mut sent = sent(5);
        assert_eq!(kinds(&sent.next(&empty, "rv-07")), "g");
        assert_eq!(kinds(&sent.next(&empty, "rv-07")), "");
    }
}
