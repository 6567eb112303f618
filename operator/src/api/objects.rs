//! One kind, one object: list, get, put, delete.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use pathsteer_crds::api::List;
use pathsteer_crds::{AnyObject, Kind, keys};
use serde_json::Value;

use super::apply::{self, Change};
use super::{Body, Problem, Server, stored};
use crate::store::{Snapshot, Write};

pub async fn list(State(server): State<Server>, Path(plural): Path<String>) -> Result<Json<List>, Problem> {
    let kind = kind(&plural)?;
    let snapshot = server.mirror.read(|snapshot| only(snapshot, kind));
    let mut items = Vec::new();
    for key in stored::keys_of(&snapshot, kind) {
        // What cannot be shown is left out here and refused when asked for by name.
        if let Ok(Some(object)) = stored::show(&snapshot, kind, &key) {
            items.push(object);
        }
    }
    Ok(Json(List { items, resource_version: Some(snapshot.revision) }))
}

pub async fn get(State(server): State<Server>, path: Path<Vec<(String, String)>>) -> Result<Json<AnyObject>, Problem> {
    let (kind, key) = named(&path)?;
    Ok(Json(existing(&server, kind, &key)?))
}

pub async fn put(
    State(server): State<Server>,
    path: Path<Vec<(String, String)>>,
    Body(body): Body<Value>,
) -> Result<Json<AnyObject>, Problem> {
    let (kind, key) = named(&path)?;
    let change = Change::read(&body).map_err(Problem::from)?;
    if (change.kind(), change.key()) != (kind, key.clone()) {
        let detail =
            format!("the path names {kind} {key}, the body is {} {}: make them equal", change.kind(), change.key());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    apply::write(&server, vec![change], None, false).await?;
    Ok(Json(existing(&server, kind, &key)?))
}

pub async fn delete(State(server): State<Server>, path: Path<Vec<(String, String)>>) -> Result<Json<Value>, Problem> {
    let (kind, key) = named(&path)?;
    let shown = server.mirror.read(|snapshot| stored::show(snapshot, kind, &key));
    // An object nobody can read can still be deleted.
    let gone = match shown {
        Ok(None) => return Err(missing(kind, &key)),
        Ok(Some(object)) => serde_json::to_value(object).unwrap_or_default(),
        Err(_) => Value::Object(serde_json::Map::new()),
    };
    let revision = server.writer.commit_whole(Write::delete_object(kind, &key).into()).await?;
    apply::seen(&server, revision).await;
    Ok(Json(gone))
}

fn existing(server: &Server, kind: Kind, key: &str) -> Result<AnyObject, Problem> {
    server.mirror.read(|snapshot| stored::show(snapshot, kind, key))?.ok_or_else(|| missing(kind, key))
}

fn missing(kind: Kind, key: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {kind} `{key}`"))
}

/// A copy of what [`stored::show`] needs for `kind`, so that nobody waits while it is parsed.
fn only(snapshot: &Snapshot, kind: Kind) -> Snapshot {
    let folders = [keys::spec(kind, ""), keys::status(kind, ""), keys::admitted(kind, "")];
    let entries = folders.iter().flat_map(|folder| snapshot.below(folder));
    Snapshot {
        revision: snapshot.revision,
        inputs: snapshot.inputs,
        entries: entries.map(|(key, entry)| (key.to_owned(), entry.clone())).collect(),
    }
}

fn kind(plural: &str) -> Result<Kind, Problem> {
    Kind::ALL.into_iter().find(|kind| kind.plural() == plural).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::plural).join(", ");
        Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at /v1/{plural}: kinds are {known}"))
    })
}

/// Kind and key of a path with one name, or with site and name.
fn named(path: &[(String, String)]) -> Result<(Kind, String), Problem> {
    let mut segments = path.iter().map(|(_, segment)| segment.as_str());
    let kind = kind(segments.next().unwrap_or_default())?;
    let names: Vec<&str> = segments.collect();
    if names.len() != 1 + usize::from(kind.is_sited()) {
        let form = if kind.is_sited() { "{site}/{name}" } else { "{name}" };
        let detail = format!("a {kind} is found at /v1/{}/{form}", kind.plural());
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    Ok((kind, names.join("/")))
}
