//! Apply: many objects, all of them validated before any of them is written.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pathsteer_crds::api::{Applied, ApplyResult, List, Outcome};
use pathsteer_crds::meta::SOURCE_LABEL;
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde::Deserialize;
use serde_json::Value;

use super::problem::ProblemItem;
use super::prune::{self, Pruning};
use super::{Body, Problem, Query, Server};
use crate::controller::admission::own_problems;
use crate::store::{Snapshot, Write};

/// How long an answer waits until a read would show what it wrote.
const SEEN: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    #[serde(default)]
    dry_run: bool,
    /// The source whose objects these are, all of them: what it has declared before goes.
    prune: Option<String>,
    #[serde(default)]
    confirm_prune: bool,
}

pub async fn apply(
    State(server): State<Server>,
    Query(options): Query<Options>,
    Body(list): Body<List<Value>>,
) -> Result<Json<Applied>, Problem> {
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    for item in &list.items {
        match Change::read(item) {
            Ok(change) => changes.push(change),
            Err(Unfit(problems)) => errors.extend(problems),
        }
    }
    let mut seen = BTreeSet::new();
    for change in &changes {
        if !seen.insert((change.kind(), change.key())) {
            errors.push(change.problem("", "is given twice: remove one"));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::from(Unfit(errors)));
    }
    let pruning = options.prune.map(|source| Pruning { source, confirmed: options.confirm_prune });
    Ok(Json(write(&server, changes, pruning, options.dry_run).await?))
}

/// An object somebody wants written, and the revision it was read at, if the write depends on it.
#[derive(Debug, Clone)]
pub struct Change {
    object: AnyObject,
    expected: Option<i64>,
}

/// Everything wrong with what somebody wants written.
#[derive(Debug)]
pub struct Unfit(Vec<ProblemItem>);

impl From<Unfit> for Problem {
    fn from(Unfit(errors): Unfit) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing was written, correct this first").with(errors)
    }
}

impl Change {
    /// The object in `item`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(item: &Value) -> Result<Change, Unfit> {
        let text = |path: &str| item.pointer(path).and_then(Value::as_str).unwrap_or("?");
        let name = format!("{} {}", text("/kind"), text("/metadata/name"));
        let unfit = |field: &str, message: String| {
            Unfit(vec![ProblemItem { object: name.clone(), field: field.to_owned(), message }])
        };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == text("/kind")) else {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(unfit("kind", format!("`{}` is not a kind: kinds are {known}", text("/kind"))));
        };
        let mut object = AnyObject::from_json(kind, &item.to_string()).map_err(|error| {
            // The position would be one in a text the sender never saw.
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
            unfit("", message.to_owned())
        })?;
        // A client may send back what it was shown, status included: it is the operator's and not stored with the spec.
        object.set_status(None);
        let expected = object.metadata_mut().resource_version.take();
        let problems = own_problems(kind, &object);
        let change = Change { object, expected };
        if problems.is_empty() {
            return Ok(change);
        }
        Err(Unfit(problems.into_iter().map(|(field, message)| change.problem(&field, &message)).collect()))
    }

    pub fn kind(&self) -> Kind {
        self.object.kind()
    }

    pub fn key(&self) -> String {
        self.object.key()
    }

    fn belong_to(&mut self, source: &str) {
        self.object.metadata_mut().labels.insert(SOURCE_LABEL.to_owned(), source.to_owned());
    }

    fn problem(&self, field: &str, message: &str) -> ProblemItem {
        let object = format!("{} {}", self.kind(), self.key());
        ProblemItem { object, field: field.to_owned(), message: message.to_owned() }
    }

    /// What writing this does to the store, for the source that declares it if one does.
    fn outcome(&self, snapshot: &Snapshot, source: Option<&str>) -> Result<Outcome, Problem> {
        let entry = snapshot.get(&keys::spec(self.kind(), &self.key()));
        if let (Some(source), Some(other)) = (source, entry.and_then(prune::source_of))
            && other != source
        {
            let detail = format!(
                "{} {} is declared by source `{other}`, not `{source}`: remove it there first",
                self.kind(),
                self.key()
            );
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        let found = entry.map_or(0, |entry| entry.mod_revision);
        if let Some(expected) = self.expected
            && expected != found
        {
            let detail = format!(
                "{} {} is at resourceVersion {found}, not {expected}: somebody else wrote it; read it again and repeat",
                self.kind(),
                self.key()
            );
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        let Some(entry) = entry else { return Ok(Outcome::Created) };
        let same = AnyObject::from_json(self.kind(), &entry.value).is_ok_and(|stored| stored == self.object);
        Ok(if same { Outcome::Unchanged } else { Outcome::Configured })
    }
}

/// Writes what differs, in the order in which kinds refer to each other, deletes what is pruned, in the other, and waits until
/// reads show it.
///
/// # Errors
/// A conflict, found before anything is written or in between; the store does not answer.
pub async fn write(
    server: &Server,
    mut changes: Vec<Change>,
    pruning: Option<Pruning>,
    dry_run: bool,
) -> Result<Applied, Problem> {
    let source = pruning.as_ref().map(|pruning| &*pruning.source);
    if let Some(source) = source {
        changes.iter_mut().for_each(|change| change.belong_to(source));
    }
    let (outcomes, gone, mut revision) = server.mirror.read(|snapshot| {
        let outcomes: Result<Vec<_>, _> = changes.iter().map(|change| change.outcome(snapshot, source)).collect();
        let declared = changes.iter().map(|change| (change.kind(), change.key())).collect();
        let gone = pruning.as_ref().map_or(Ok(Vec::new()), |pruning| pruning.gone(snapshot, &declared));
        (outcomes, gone, snapshot.revision)
    });
    let (outcomes, mut gone) = (outcomes?, gone?);
    gone.reverse();
    let results = changes.iter().zip(&outcomes);
    let results =
        results.map(|(change, outcome)| ApplyResult { kind: change.kind(), name: change.key(), outcome: *outcome });
    let pruned =
        gone.iter().map(|gone| ApplyResult { kind: gone.kind, name: gone.key.clone(), outcome: Outcome::Deleted });
    let results: Vec<_> = results.chain(pruned).collect();
    if !dry_run {
        let mut due: Vec<_> = changes.into_iter().zip(outcomes).filter(|(_, o)| *o != Outcome::Unchanged).collect();
        due.sort_by_key(|(change, _)| change.kind());
        let writes = due.into_iter().map(|(change, _)| {
            let write = Write::put(keys::spec(change.kind(), &change.key()), canonical::to_json(&change.object));
            match change.expected {
                Some(revision) => write.if_at(revision),
                None => write,
            }
        });
        let deletes = gone.iter().flat_map(|gone| {
            let [meant, delete] = Write::delete_object(gone.kind, &gone.key);
            [meant, delete.if_at(gone.mod_revision)]
        });
        revision = server.writer.commit_whole(writes.chain(deletes).collect()).await?.max(revision);
        seen(server, revision).await;
    }
    Ok(Applied { results, resource_version: revision })
}

/// Waits until reads show what was written at `revision`; not for ever, the write itself is done.
pub async fn seen(server: &Server, revision: i64) {
    if !server.mirror.reached(revision, SEEN).await {
        tracing::warn!(revision, "answered before a read would show the write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn site() -> Value {
        json!({"apiVersion": "pathsteer.io/v1alpha1", "kind": "Site", "metadata": {"name": "rv-07"},
            "spec": {"anchors": ["dal-a"], "prefixes": ["172.16.7.0/24"]}})
    }

    fn errors(item: &Value) -> Vec<ProblemItem> {
        Change::read(item).unwrap_err().0
    }

    #[test]
    fn every_error_names_its_object_and_field() {
        let mut bad = site();
        bad["spec"]["anchors"] = json!([]);
        bad["spec"]["prefixes"] = json!(["172.16.7.1/24"]);
        let errors = errors(&bad);
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|error| error.object == "Site rv-07"));
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["spec.anchors", "spec.prefixes"]);
    }

    #[test]
    fn what_is_no_object_is_refused_without_a_position_nobody_can_find() {
        let mut bad = site();
        bad["spec"]["anchor"] = json!([]);
        let message = &errors(&bad)[0].message;
        assert!(message.starts_with("unknown field `anchor`") && !message.contains("line"), "{message}");
        assert!(errors(&json!({"kind": "Stie"}))[0].message.contains("kinds are Fabric, Anchor"));
    }

    #[test]
    fn what_the_api_showed_may_be_sent_back_and_makes_the_write_conditional() {
        let mut shown = site();
        shown["metadata"]["resourceVersion"] = json!(7);
        shown["status"] = json!({"observedGeneration": 7, "conditions": []});
        let change = Change::read(&shown).unwrap();
        assert_eq!(change.expected, Some(7));
        assert_eq!(change.object, AnyObject::from_json(Kind::Site, &site().to_string()).unwrap());
    }
}
