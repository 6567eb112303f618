//! Objects as the API shows them: the spec key, with the revision and the status; and on a Fabric how its store is, which
//! the store itself cannot be relied on to hold.

use axum::http::StatusCode;
use pathsteer_crds::meta::Status;
use pathsteer_crds::{AnyObject, Kind, keys};

use super::Problem;
use crate::store::{Health, Snapshot};

/// The object `kind` `key`; none if there is no such key.
///
/// # Errors
/// The key holds something that is no such object and never was one.
pub fn show(snapshot: &Snapshot, health: &Health, kind: Kind, key: &str) -> Result<Option<AnyObject>, Problem> {
    let path = keys::spec(kind, key);
    let Some(entry) = snapshot.get(&path) else { return Ok(None) };
    // Someone may have put anything there. What cannot be read is shown as the last good version, which is the one in
    // force; the status says what is wrong with the newest.
    let newest = AnyObject::from_json(kind, &entry.value);
    let admitted = || AnyObject::from_json(kind, &snapshot.get(&keys::admitted(kind, key))?.value).ok();
    let mut object = match newest {
        Ok(newest) => newest,
        Err(error) => admitted().ok_or_else(|| {
            let detail = format!("{path} does not hold a {kind}: {error}; put one there or delete it");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })?,
    };
    let status = snapshot.get(&keys::status(kind, key));
    object.metadata_mut().resource_version = Some(entry.mod_revision);
    let mut status = status.and_then(|entry| serde_json::from_str::<Status>(&entry.value).ok());
    if kind == Kind::Fabric {
        status.get_or_insert_default().conditions.push(health.condition());
    }
    object.set_status(status);
    Ok(Some(object))
}

/// Every key of `kind` in the store, in order.
pub fn keys_of(snapshot: &Snapshot, kind: Kind) -> Vec<String> {
    let folder = keys::spec(kind, "");
    snapshot.below(&folder).map(|(key, _)| key[folder.len()..].to_owned()).collect()
}
