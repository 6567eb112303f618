//! `apply`, `delete` and `validate`: manifests against the store.

use std::io::Write;

use pathsteer_crds::AnyObject;
use pathsteer_crds::api::{Applied, List, Outcome};

use crate::args::{Manifests, Pruning};
use crate::client::Client;
use crate::failure::Failure;
use crate::load::load;
use crate::object::{self, ObjectId};
use crate::query;

/// Sends `objects` as one request and says what became of each, and of what is pruned. In a dry run it says what would,
/// and what the compiler would refuse.
///
/// # Errors
/// [`Failure::No`] if something would be refused.
pub async fn apply(
    client: &mut Client,
    objects: Vec<AnyObject>,
    (dry_run, pruning): (bool, Pruning),
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let source = pruning.source.filter(|_| pruning.prune).unwrap_or_default();
    let flag = |is_set: bool| if is_set { "true" } else { "" };
    let options =
        [("dryRun", flag(dry_run)), ("prune", source.as_str()), ("confirmPrune", flag(pruning.confirm_prune))];
    let body = serde_json::to_string(&List::of(objects)).expect("objects always serialize");
    let applied: Applied = client.post(&query::with("/v1/apply", &options), body).await?;
    let mut refused = 0;
    for result in applied.results {
        let id = ObjectId { kind: result.kind, key: result.name };
        let word = match result.outcome {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
        };
        writeln!(out, "{id} {word}{}", if dry_run { " (dry run)" } else { "" })?;
        for reason in &result.refused {
            writeln!(out, "  would be refused: {reason}")?;
        }
        refused += usize::from(!result.refused.is_empty());
    }
    match refused {
        0 => Ok(()),
        1 => Err(Failure::No("1 object would be refused".to_owned())),
        many => Err(Failure::No(format!("{many} objects would be refused"))),
    }
}

/// What a dry run says that asks nobody.
pub fn unasked(objects: &[AnyObject], what: &str, out: &mut dyn Write) -> Result<(), Failure> {
    for object in objects {
        writeln!(out, "{} {what} (dry run, no operator asked)", ObjectId::of(object))?;
    }
    Ok(())
}

/// Deletes the object named, or everything in `files`: first what refers to others.
pub async fn delete(
    client: &mut Client,
    ids: Vec<ObjectId>,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for id in ids {
        let path = query::with(&id.path(), &[("dryRun", if dry_run { "true" } else { "" })]);
        match client.delete(&path).await {
            Ok(()) => writeln!(out, "{id} deleted{}", if dry_run { " (dry run)" } else { "" })?,
            Err(error) if error.is_not_found() => missing.push(id.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::No(format!("there is no {}", missing.join(", no ")))) }
}

/// What is to be deleted: the object named, or everything in `files`, first what refers to others.
///
/// # Errors
/// Words that name nothing, files that cannot be read.
pub fn meant(named: Option<(String, Option<String>)>, files: &[String]) -> Result<Vec<ObjectId>, Failure> {
    match named {
        Some((kind, name)) => Ok(vec![object::parse_one(&kind, name.as_deref())?]),
        None => Ok(load(files)?.iter().rev().map(ObjectId::of).collect()),
    }
}

/// Checks manifests by themselves; what they refer to is checked by the operator.
pub fn validate(manifests: &Manifests, out: &mut dyn Write) -> Result<(), Failure> {
    for object in load(&manifests.files)? {
        writeln!(out, "{} valid", ObjectId::of(&object))?;
    }
    Ok(())
}
