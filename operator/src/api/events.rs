//! What has happened to objects.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use pathsteer_crds::api::{Event, EventQuery, List, WatchChange, WatchLine, WatchQuery};
use pathsteer_crds::keys;
use pathsteer_crds::selector::Selector;
use serde_json::Value;

use super::limits::Stream;
use super::watch::{Follow, answer};
use super::{Problem, Query, Server, objects};
use crate::store::{Snapshot, Topic};

pub async fn list(State(server): State<Server>, Query(query): Query<EventQuery>) -> Result<Json<List<Value>>, Problem> {
    let selector = objects::selector("", &query.field_selector)?;
    let limit = objects::limit(query.limit)?;
    let (all, revision) = server.mirror.read(|snapshot| (after(snapshot, 0), snapshot.revision));
    let mut items: Vec<Value> = all.into_iter().map(|(_, event)| event).filter(|e| selector.selects(e)).collect();
    items.drain(..items.len().saturating_sub(limit));
    Ok(Json(List { items, resource_version: Some(revision), next: None }))
}

pub async fn watch(
    State(server): State<Server>,
    stream: Stream,
    Query(query): Query<WatchQuery>,
) -> Result<Response, Problem> {
    if !query.label_selector.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "events have no labels: use fieldSelector"));
    }
    let selector = objects::selector("", &query.field_selector)?;
    let newest = server.mirror.revision();
    let until = query.resource_version.unwrap_or(0);
    if until > newest {
        return Err(super::watch::forgotten(until));
    }
    Ok(answer(server, stream, Topic::Events, Told { until, selector }))
}

/// Events until a revision have been sent.
struct Told {
    until: i64,
    selector: Selector,
}

impl Follow for Told {
    type Item = Value;

    fn next(&mut self, snapshot: &Snapshot) -> Vec<WatchLine<Value>> {
        let new = after(snapshot, self.until);
        self.until = snapshot.revision;
        let line = |(resource_version, event): (i64, Value)| {
            let line = WatchLine { change: WatchChange::Added, resource_version, object: Some(event) };
            line.object.as_ref().is_some_and(|event| self.selector.selects(event)).then_some(line)
        };
        new.into_iter().filter_map(line).collect()
    }
}

/// Events that were written after `revision`, with the revision that wrote them, in the order of time.
fn after(snapshot: &Snapshot, revision: i64) -> Vec<(i64, Value)> {
    let folder = keys::event("");
    let new = snapshot.below(&folder).filter(|(_, entry)| entry.mod_revision > revision);
    let read = new.filter_map(|(_, entry)| {
        // By the type, so that what somebody else has put there is not shown as an event.
        let event: Event = serde_json::from_str(&entry.value).ok()?;
        Some((entry.mod_revision, serde_json::to_value(event).ok()?))
    });
    read.collect()
}
