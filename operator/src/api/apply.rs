//! Apply: many objects, all of them validated before any of them is written.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use pathsteer_crds::api::{Applied, ApplyQuery, ApplyResult, List, Outcome};
use serde_json::Value;

use super::change::{Change, Unfit};
use super::prune::{Gone, Pruning};
use super::{Body, Problem, Query, Server};
use crate::controller::preview;
use crate::store::{Snapshot, Write};

/// How long an answer waits until a read would show what it wrote.
const SEEN: Duration = Duration::from_secs(5);

pub async fn apply(
    State(server): State<Server>,
    Query(query): Query<ApplyQuery>,
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
    let pruning = query.prune.map(|source| Pruning::of(source, query.confirm_prune)).transpose()?;
    let applying = server.mirror.read(|snapshot| Applying::prepare(snapshot, changes, pruning))?;
    match (query.dry_run, query.plan) {
        (true, node) => applying.preview(&server, node.as_deref()),
        (false, None) => applying.commit(&server).await,
        (false, Some(_)) => {
            let detail = "plan: what a plan would be is answered in a dry run; afterwards see /v1/plans/{name}";
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
    .map(Json)
}

/// Objects to write and to delete, with what that does.
#[derive(Debug)]
pub struct Applying {
    changes: Vec<(Change, Outcome)>,
    gone: Vec<Gone>,
    /// Of the store that this was decided on.
    revision: i64,
}

impl Applying {
    /// # Errors
    /// An object depends on another version than there is, or belongs to another source; too much would be deleted.
    pub fn prepare(
        snapshot: &Snapshot,
        mut changes: Vec<Change>,
        pruning: Option<Pruning>,
    ) -> Result<Applying, Problem> {
        let source = pruning.as_ref().map(|pruning| &*pruning.source);
        if let Some(source) = source {
            changes.iter_mut().for_each(|change| change.belong_to(source));
        }
        let outcomes: Result<Vec<_>, _> = changes.iter().map(|change| change.outcome(snapshot, source)).collect();
        let declared = changes.iter().map(|change| (change.kind(), change.key())).collect();
        let mut gone = pruning.as_ref().map_or(Ok(Vec::new()), |pruning| pruning.gone(snapshot, &declared))?;
        gone.reverse();
        Ok(Applying { changes: changes.into_iter().zip(outcomes?).collect(), gone, revision: snapshot.revision })
    }

    /// Writes what differs, in the order in which kinds refer to each other, deletes what is pruned, in the other, and waits
    /// until reads show it.
    ///
    /// # Errors
    /// A conflict in between; the store does not answer.
    pub async fn commit(self, server: &Server) -> Result<Applied, Problem> {
        let results = self.results();
        let mut due: Vec<_> = self.changes.iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged).collect();
        due.sort_by_key(|(change, _)| change.kind());
        let writes = due.into_iter().map(|(change, _)| change.write());
        let deletes = self.gone.iter().flat_map(|gone| {
            let [meant, delete] = Write::delete_object(gone.kind, &gone.key);
            [meant, delete.if_at(gone.mod_revision)]
        });
        let revision = server.writer.commit_whole(writes.chain(deletes).collect()).await?.max(self.revision);
        seen(server, revision).await;
        Ok(Applied { results, resource_version: revision, plan: None })
    }

    /// What [`Applying::commit`] would do, and what the compiler would say to it.
    ///
    /// # Errors
    /// The compiler cannot be asked.
    fn preview(&self, server: &Server, node: Option<&str>) -> Result<Applied, Problem> {
        let written = self.changes.iter().map(|(change, _)| change.object().clone()).collect();
        let gone = self.gone.iter().map(|gone| (gone.kind, gone.key.clone())).collect();
        // A copy, since nobody should wait for a compilation.
        let snapshot = server.mirror.read(Snapshot::clone);
        let preview =
            tokio::task::block_in_place(|| preview::preview(&snapshot, written, gone, node)).map_err(|error| {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("nothing can be compiled: {error}"))
            })?;
        let mut results = self.results();
        for ((kind, name), reason) in preview.refused {
            match results.iter_mut().find(|result| (result.kind, &result.name) == (kind, &name)) {
                Some(result) => result.refused.push(reason),
                None => results.push(ApplyResult { kind, name, outcome: Outcome::Unchanged, refused: vec![reason] }),
            }
        }
        Ok(Applied { results, resource_version: self.revision, plan: preview.plan })
    }

    fn results(&self) -> Vec<ApplyResult> {
        let result = |kind, name, outcome| ApplyResult { kind, name, outcome, refused: Vec::new() };
        let written = self.changes.iter().map(|(change, outcome)| result(change.kind(), change.key(), *outcome));
        let pruned = self.gone.iter().map(|gone| result(gone.kind, gone.key.clone(), Outcome::Deleted));
        written.chain(pruned).collect()
    }
}

/// Waits until reads show what was written at `revision`; not for ever, the write itself is done.
pub async fn seen(server: &Server, revision: i64) {
    if !server.mirror.reached(revision, SEEN).await {
        tracing::warn!(revision, "answered before a read would show the write");
    }
}
