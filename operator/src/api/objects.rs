//! One kind, one object: list, create, get, replace, patch, delete.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::api::{DeleteQuery, List, ListQuery, WriteQuery};
use pathsteer_crds::selector::Selector;
use pathsteer_crds::{AnyObject, Kind, keys, merge_patch};
use serde_json::Value;

use super::apply::{self, Applying};
use super::change::Change;
use super::{Body, Problem, Query, Server, stored};
use crate::store::{Snapshot, Write, WriteError};

/// A patch that names no version is tried so often when others write in between.
const TRIES: usize = 5;

/// The names in a path: one, or site and name.
pub type Names = Path<Vec<(String, String)>>;

pub async fn list(kind: Kind, server: Server, query: ListQuery) -> Result<Json<List<Value>>, Problem> {
    let selector = selector(&query.label_selector, &query.field_selector)?;
    let limit = limit(query.limit)?;
    // A copy of what is needed, so that nobody waits while it is parsed.
    let snapshot = server.mirror.read(|snapshot| only(snapshot, kind));
    let mut keys = stored::keys_of(&snapshot, kind).into_iter().peekable();
    if let Some(after) = &query.after {
        while keys.next_if(|key| key <= after).is_some() {}
    }
    let (mut items, mut last, mut next) = (Vec::new(), None, None);
    for key in keys {
        // What cannot be shown is left out here and refused when asked for by name.
        let Ok(Some(object)) = stored::show(&snapshot, &server.health, kind, &key) else { continue };
        let object = serde_json::to_value(object).unwrap_or_default();
        if !selector.selects(&object) {
            continue;
        }
        if items.len() == limit {
            next = last;
            break;
        }
        items.push(object);
        last = Some(key);
    }
    Ok(Json(List { items, resource_version: Some(snapshot.revision), next }))
}

/// Both selectors as one.
pub fn selector(labels: &str, fields: &str) -> Result<Selector, Problem> {
    let wrong = |name: &str, error| Problem::new(StatusCode::BAD_REQUEST, format!("{name}: {error}"));
    let labels = Selector::labels(labels).map_err(|error| wrong("labelSelector", error))?;
    Ok(labels.and(Selector::fields(fields).map_err(|error| wrong("fieldSelector", error))?))
}

/// How many at most.
pub fn limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(usize::MAX),
        Some(limit @ 1..=10_000) => Ok(limit),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "limit is from 1 to 10000; left out, all are answered")),
    }
}

pub async fn get(kind: Kind, State(server): State<Server>, names: Names) -> Result<Json<AnyObject>, Problem> {
    Ok(Json(existing(&server, kind, &key(&names))?))
}

pub async fn create(
    kind: Kind,
    State(server): State<Server>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Value>,
) -> Result<(StatusCode, Json<AnyObject>), Problem> {
    let change = Change::read(&body)?.only_new()?;
    if change.kind() != kind {
        let detail = format!("the body is a {}, its place is /v1/{}", change.kind(), change.kind().plural());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok((StatusCode::CREATED, Json(write(&server, change, query.dry_run).await?)))
}

pub async fn replace(
    kind: Kind,
    State(server): State<Server>,
    names: Names,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Value>,
) -> Result<Json<AnyObject>, Problem> {
    let change = named(kind, &key(&names), Change::read(&body)?)?;
    Ok(Json(write(&server, change, query.dry_run).await?))
}

pub async fn patch(
    kind: Kind,
    State(server): State<Server>,
    names: Names,
    Query(query): Query<WriteQuery>,
    Body(patch): Body<Value>,
) -> Result<Json<AnyObject>, Problem> {
    let key = key(&names);
    if !patch.is_object() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "a merge patch of an object is a JSON object"));
    }
    let is_tied = !patch["metadata"]["resourceVersion"].is_null();
    for _ in 1..TRIES {
        match patch_once(&server, kind, &key, &patch, query.dry_run).await {
            // Somebody wrote between our reading and our writing; the patch itself depends on no version. Only what he
            // wrote can be patched now.
            Err(problem) if problem.status() == StatusCode::CONFLICT && !is_tied => {
                let written = server.writer.read(&keys::spec(kind, &key)).await?.mod_revision;
                apply::seen(&server, written).await;
            }
            done => return done.map(Json),
        }
    }
    patch_once(&server, kind, &key, &patch, query.dry_run).await.map(Json)
}

async fn patch_once(
    server: &Server,
    kind: Kind,
    key: &str,
    patch: &Value,
    dry_run: bool,
) -> Result<AnyObject, Problem> {
    let existing = serde_json::to_value(existing(server, kind, key)?).unwrap_or_default();
    let change = named(kind, key, Change::read(&merge_patch::apply(existing, patch.clone()))?)?;
    write(server, change, dry_run).await
}

pub async fn delete(
    kind: Kind,
    State(server): State<Server>,
    names: Names,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<Value>, Problem> {
    let key = key(&names);
    let path = keys::spec(kind, &key);
    let (shown, found) = server.mirror.read(|snapshot| {
        (stored::show(snapshot, &server.health, kind, &key), snapshot.get(&path).map_or(0, |entry| entry.mod_revision))
    });
    // An object nobody can read can still be deleted.
    let gone = match shown {
        Ok(None) => return Err(missing(kind, &key)),
        Ok(Some(object)) => serde_json::to_value(object).unwrap_or_default(),
        Err(_) => Value::Object(serde_json::Map::new()),
    };
    let [meant, mut write] = Write::delete_object(kind, &key);
    if let Some(revision) = query.resource_version {
        if revision != found {
            return Err(WriteError::Conflict { key: path }.into());
        }
        write = write.if_at(revision);
    }
    if !query.dry_run {
        let revision = server.writer.commit_whole(vec![meant, write]).await?;
        apply::seen(&server, revision).await;
    }
    Ok(Json(gone))
}

/// Writes `change`; the object as it then is, or would be.
async fn write(server: &Server, change: Change, dry_run: bool) -> Result<AnyObject, Problem> {
    let (kind, key, mut object) = (change.kind(), change.key(), change.object().clone());
    let applying = server.mirror.read(|snapshot| Applying::prepare(snapshot, vec![change], None))?;
    match dry_run {
        false => {
            applying.commit(server).await?;
            existing(server, kind, &key)
        }
        true => {
            // The same but for what was written.
            if let Ok(before) = existing(server, kind, &key) {
                object.metadata_mut().resource_version = before.metadata().resource_version;
                object.set_status(before.status().cloned());
            }
            Ok(object)
        }
    }
}

fn named(kind: Kind, key: &str, change: Change) -> Result<Change, Problem> {
    if (change.kind(), &*change.key()) == (kind, key) {
        return Ok(change);
    }
    let detail =
        format!("the path names {kind} {key}, the body is {} {}: make them equal", change.kind(), change.key());
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
}

fn existing(server: &Server, kind: Kind, key: &str) -> Result<AnyObject, Problem> {
    server.mirror.read(|snapshot| stored::show(snapshot, &server.health, kind, key))?.ok_or_else(|| missing(kind, key))
}

fn missing(kind: Kind, key: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {kind} `{key}`"))
}

fn key(Path(names): &Names) -> String {
    names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join("/")
}

/// A copy of what [`stored::show`] needs for `kind`.
fn only(snapshot: &Snapshot, kind: Kind) -> Snapshot {
    let folders = [keys::spec(kind, ""), keys::status(kind, ""), keys::admitted(kind, "")];
    let entries = folders.iter().flat_map(|folder| snapshot.below(folder));
    Snapshot::listed(snapshot.revision, entries.map(|(key, entry)| (key.to_owned(), entry.clone())).collect())
}
