//! `apply`, `delete` and `validate`: manifests against the store.

use std::io::Write;

use pathsteer_crds::AnyObject;
use pathsteer_crds::api::{Applied, List, Outcome};

use crate::args::{Manifests, Pruning};
use crate::client::Client;
use crate::failure::Failure;
use crate::load::load;
use crate::object::{self, ObjectId};

/// Sends `objects` as one request and says what became of each, and of what is pruned.
pub async fn apply(
    client: &mut Client,
    objects: Vec<AnyObject>,
    (dry_run, pruning): (bool, Pruning),
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut options = Vec::new();
    options.extend(dry_run.then(|| "dryRun=true".to_owned()));
    if let Some(source) = pruning.source.filter(|_| pruning.prune) {
        options.push(format!("prune={source}&confirmPrune={}", pruning.confirm_prune));
    }
    let path = if options.is_empty() { "/v1/apply".to_owned() } else { format!("/v1/apply?{}", options.join("&")) };
    let body = List::of(objects);
    let body = serde_json::to_string(&body).expect("objects always serialize");
    let applied: Applied = client.post(&path, body).await?;
    for result in applied.results {
        let id = ObjectId { kind: result.kind, key: result.name };
        let word = match result.outcome {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
        };
        writeln!(out, "{id} {word}{}", if dry_run { " (dry run)" } else { "" })?;
    }
    Ok(())
}

/// Deletes the object named, or everything in `files`: first what refers to others.
pub async fn delete(
    client: &mut Client,
    named: Option<(String, Option<String>)>,
    files: &[String],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let ids = match named {
        Some((kind, name)) => vec![object::parse_one(&kind, name.as_deref())?],
        None => load(files)?.iter().rev().map(ObjectId::of).collect(),
    };
    let mut missing = Vec::new();
    for id in ids {
        match client.delete(&id.path()).await {
            Ok(()) => writeln!(out, "{id} deleted")?,
            Err(error) if error.is_not_found() => missing.push(id.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::No(format!("there is no {}", missing.join(", no ")))) }
}

/// Checks manifests by themselves; what they refer to is checked by the operator.
pub fn validate(manifests: &Manifests, out: &mut dyn Write) -> Result<(), Failure> {
    for object in load(&manifests.files)? {
        writeln!(out, "{} valid", ObjectId::of(&object))?;
    }
    Ok(())
}
