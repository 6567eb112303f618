//! Watches: what changes of the objects of a kind, as newline-delimited JSON, for as long as the client listens.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pathsteer_crds::api::{WatchChange, WatchLine, WatchQuery};
use pathsteer_crds::meta::Condition;
use pathsteer_crds::selector::Selector;
use pathsteer_crds::{AnyObject, Kind, keys};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::limits::Stream;
use super::{Problem, Server, objects, stored};
use crate::store::{Entry, Health, Snapshot, Topic};

/// Lines ahead of a slow reader. Beyond it the watch waits, and of what changes meanwhile only the last state is sent.
const BUFFER: usize = 64;
/// How long a reader may take nothing before the watch ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// A watch that is silent for longer says where it is.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub async fn watch(kind: Kind, server: Server, stream: Stream, query: WatchQuery) -> Result<Response, Problem> {
    let selector = objects::selector(&query.label_selector, &query.field_selector)?;
    let seen = match query.resource_version {
        None => Seen::nothing(kind, selector, Arc::clone(&server.health)),
        Some(since) => server
            .mirror
            .read(|snapshot| Seen::until(snapshot, kind, selector, Arc::clone(&server.health), since))
            .ok_or_else(|| forgotten(since))?,
    };
    Ok(answer(server, stream, Topic::Objects(kind), seen))
}

/// What has changed since `since` cannot be told.
pub fn forgotten(since: i64) -> Problem {
    let detail =
        format!("what has changed since resourceVersion {since} is not known any more: list, and watch from there");
    Problem::new(StatusCode::GONE, detail)
}

/// What has been sent, and with it what is to be sent next.
pub trait Follow: Send + 'static {
    type Item: Serialize + Send;

    /// What to send so that the client has what `snapshot` holds, in the order of revisions.
    fn next(&mut self, snapshot: &Snapshot) -> Vec<WatchLine<Self::Item>>;
}

/// Streams lines until the client goes away, takes none, or the operator ends.
pub fn answer(server: Server, stream: Stream, topic: Topic, follow: impl Follow) -> Response {
    let (lines, body) = mpsc::channel(BUFFER);
    tokio::spawn(feed(server, stream, topic, follow, lines));
    let body = axum::body::Body::from_stream(ReceiverStream::new(body));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn feed(
    server: Server,
    _stream: Stream,
    topic: Topic,
    mut follow: impl Follow,
    out: mpsc::Sender<Result<Bytes, Infallible>>,
) {
    let (mut changes, mut health) = (server.mirror.subscribe(topic), server.health.changes());
    let mut is_due = true;
    loop {
        let (mut lines, revision) = server.mirror.read(|snapshot| (follow.next(snapshot), snapshot.revision));
        if is_due {
            lines.push(WatchLine { change: WatchChange::Bookmark, resource_version: revision, object: None });
        }
        for line in lines {
            let mut line = serde_json::to_vec(&line).unwrap_or_default();
            line.push(b'\n');
            match tokio::time::timeout(PATIENCE, out.send(Ok(line.into()))).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        is_due = tokio::select! {
            _ = changes.changed() => false,
            _ = health.changed() => false,
            () = tokio::time::sleep(HEARTBEAT) => true,
            () = out.closed() => return,
            () = server.ending.cancelled() => return,
        };
    }
}

/// What of a kind a client has been sent.
struct Seen {
    kind: Kind,
    selector: Selector,
    health: Arc<Health>,
    objects: BTreeMap<String, Known>,
    /// Deletions until here are known to the client.
    until: i64,
}

struct Known {
    /// Of the spec or the status, whichever is newer.
    revision: i64,
    /// How the store was, if that is shown with it; none as well where it is not known what the client has been told.
    store: Option<Condition>,
    /// The spec, to be shown when it is gone; none if the client does not have the object: it is not selected.
    shown: Option<Entry>,
}

impl Seen {
    fn nothing(kind: Kind, selector: Selector, health: Arc<Health>) -> Seen {
        Seen { kind, selector, health, objects: BTreeMap::new(), until: i64::MAX }
    }

    /// What a client has that has seen everything until `since`. None: it cannot be told.
    fn until(snapshot: &Snapshot, kind: Kind, selector: Selector, health: Arc<Health>, since: i64) -> Option<Seen> {
        let _ = snapshot.deleted_since(since)?;
        let mut seen = Seen { kind, selector, health, objects: BTreeMap::new(), until: since };
        for key in stored::keys_of(snapshot, kind) {
            let revision = revision(snapshot, kind, &key);
            if revision <= since {
                let shown = seen.shown(snapshot, &key).and(snapshot.get(&keys::spec(kind, &key)).cloned());
                seen.objects.insert(key, Known { revision, store: None, shown });
            }
        }
        Some(seen)
    }

    /// The object as a client sees it, if it is selected and can be shown.
    fn shown(&self, snapshot: &Snapshot, key: &str) -> Option<Value> {
        let object = stored::show(snapshot, &self.health, self.kind, key).ok().flatten()?;
        let object = serde_json::to_value(object).ok()?;
        self.selector.selects(&object).then_some(object)
    }

    fn gone(&self, revision: i64, last: &Entry) -> Option<WatchLine<Value>> {
        let mut object = AnyObject::from_json(self.kind, &last.value).ok()?;
        object.metadata_mut().resource_version = Some(last.mod_revision);
        let object = serde_json::to_value(object).ok();
        Some(WatchLine { change: WatchChange::Deleted, resource_version: revision, object })
    }

    fn deletions(&mut self, snapshot: &Snapshot) -> Vec<WatchLine<Value>> {
        let folder = keys::spec(self.kind, "");
        let mut lines = Vec::new();
        // Of objects that came and went unseen, for a client that goes on where it ended.
        for deleted in snapshot.deleted_since(self.until).into_iter().flatten() {
            let key = deleted.key.strip_prefix(&folder);
            let is_unknown =
                key.is_some_and(|key| !self.objects.contains_key(key) && snapshot.get(&deleted.key).is_none());
            if is_unknown {
                lines.extend(self.gone(deleted.revision, &deleted.last));
            }
        }
        let vanished: Vec<_> =
            self.objects.keys().filter(|key| snapshot.get(&format!("{folder}{key}")).is_none()).cloned().collect();
        for key in vanished {
            let Some(Known { shown: Some(last), .. }) = self.objects.remove(&key) else { continue };
            let path = format!("{folder}{key}");
            let deleted = snapshot.deleted_since(self.until.min(snapshot.revision)).into_iter().flatten();
            let revision = deleted.filter(|deleted| deleted.key == path).map(|deleted| deleted.revision).last();
            lines.extend(self.gone(revision.unwrap_or(snapshot.revision), &last));
        }
        self.until = snapshot.revision;
        lines
    }
}

impl Follow for Seen {
    type Item = Value;

    fn next(&mut self, snapshot: &Snapshot) -> Vec<WatchLine<Value>> {
        let mut lines = self.deletions(snapshot);
        let store = (self.kind == Kind::Fabric).then(|| self.health.condition());
        for key in stored::keys_of(snapshot, self.kind) {
            let revision = revision(snapshot, self.kind, &key);
            let known = self.objects.get(&key);
            let is_old = known.is_some_and(|known| known.revision == revision);
            if is_old && known.is_some_and(|known| known.store == store) {
                continue;
            }
            // How the store is has no revision: it is so now.
            let at = if is_old { snapshot.revision } else { revision };
            let before = known.and_then(|known| known.shown.clone());
            let now = self.shown(snapshot, &key);
            let line = |change, object| WatchLine { change, resource_version: at, object: Some(object) };
            let shown = now.as_ref().and(snapshot.get(&keys::spec(self.kind, &key)).cloned());
            lines.extend(match (&before, now) {
                (None, Some(object)) => Some(line(WatchChange::Added, object)),
                (Some(_), Some(object)) => Some(line(WatchChange::Modified, object)),
                (Some(last), None) => self.gone(at, last),
                (None, None) => None,
            });
            self.objects.insert(key, Known { revision, store: store.clone(), shown });
        }
        lines.sort_by_key(|line| line.resource_version);
        lines
    }
}

/// The revision of the last change of an object as people see it.
fn revision(snapshot: &Snapshot, kind: Kind, key: &str) -> i64 {
    let at = |path: String| snapshot.get(&path).map_or(0, |entry| entry.mod_revision);
    at(keys::spec(kind, key)).max(at(keys::status(kind, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(name: &str, region: &str) -> String {
        format!(
            r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"Mode",
            "metadata":{{"name":"{name}","labels":{{"region":"{region}"}}}},"spec":{{"mode":"mirror"}}}}"#
        )
    }

    fn snapshot(revision: i64, modes: &[(&str, &str, i64)]) -> Snapshot {
        let entry = |(name, region, at): &(&str, &str, i64)| {
            (keys::spec(Kind::Mode, name), Entry { value: mode(name, region).into(), mod_revision: *at })
        };
        Snapshot::listed(revision, modes.iter().map(entry).collect())
    }

    fn words(lines: &[WatchLine<Value>]) -> Vec<String> {
        let name = |line: &WatchLine<Value>| line.object.as_ref().unwrap()["metadata"]["name"].clone();
        lines.iter().map(|line| format!("{:?} {} {}", line.change, name(line), line.resource_version)).collect()
    }

    #[test]
    fn what_is_there_comes_first_and_then_each_change_once() {
        let mut seen = Seen::nothing(Kind::Mode, Selector::default(), Arc::default());
        let first = snapshot(5, &[("a", "west", 5), ("b", "west", 4)]);
        assert_eq!(words(&seen.next(&first)), [r#"Added "b" 4"#, r#"Added "a" 5"#]);
        assert!(seen.next(&first).is_empty());
        let second = snapshot(8, &[("a", "west", 7), ("c", "west", 8)]);
        assert_eq!(words(&seen.next(&second)), [r#"Modified "a" 7"#, r#"Deleted "b" 8"#, r#"Added "c" 8"#]);
    }

    #[test]
    fn what_is_selected_no_longer_is_told_as_deleted_and_what_never_was_is_not_told() {
        let mut seen = Seen::nothing(Kind::Mode, Selector::labels("region=west").unwrap(), Arc::default());
        assert_eq!(words(&seen.next(&snapshot(5, &[("a", "west", 5), ("b", "east", 4)]))), [r#"Added "a" 5"#]);
        assert_eq!(words(&seen.next(&snapshot(6, &[("a", "east", 6), ("b", "east", 4)]))), [r#"Deleted "a" 6"#]);
        assert_eq!(words(&seen.next(&snapshot(7, &[("b", "west", 7)]))), [r#"Added "b" 7"#]);
    }

    #[test]
    fn a_watch_goes_on_after_what_the_client_has_seen() {
        let now = snapshot(8, &[("a", "west", 5), ("b", "west", 8)]);
        let mut seen = Seen::until(&now, Kind::Mode, Selector::default(), Arc::default(), 8).unwrap();
        assert!(seen.next(&now).is_empty());
        assert!(Seen::until(&now, Kind::Mode, Selector::default(), Arc::default(), 7).is_none(), "before the list");
        assert!(Seen::until(&now, Kind::Mode, Selector::default(), Arc::default(), 9).is_none(), "still to come");
    }
}
