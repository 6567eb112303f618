//! Publishing: allocations first, then fragments, then roots, then what is no longer needed goes.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_compiler::{Allocations, CompiledPlan, check};
use pathsteer_crds::plan::{Cut, PLAN_VERSION, PlanRoot, Role};
use pathsteer_crds::{canonical, keys};
use tracing::{info, warn};

use super::decision::Decision;
use super::declared::{Declared, Id};
use super::epoch;
use crate::store::{Snapshot, Write, WriteError, Writer};

/// A plan, cut up to be published.
#[derive(Debug)]
pub struct CutPlan {
    role: Role,
    cut: Cut,
}

/// Cuts `plans` up. `before` are those of the compilation before.
pub fn cut(plans: BTreeMap<String, CompiledPlan>, before: &BTreeMap<String, CutPlan>) -> BTreeMap<String, CutPlan> {
    let one = |(node, CompiledPlan { role, scopes }): (String, CompiledPlan)| {
        let cut = Cut::of(scopes, before.get(&node).map(|before| &before.cut));
        (node, CutPlan { role, cut })
    };
    plans.into_iter().map(one).collect()
}

/// What the store must be told.
#[derive(Debug, Default, PartialEq)]
pub struct Publication {
    allocations: Vec<Write>,
    fragments: Vec<Write>,
    roots: Vec<Write>,
    /// Old fragments, withdrawn plans, what was said about deleted objects; and newly admitted versions.
    rest: Vec<Write>,
    /// Plans that `check` found fault with, with what it found: they are not published.
    pub faulty: BTreeMap<String, String>,
}

impl Publication {
    /// What to write so that the store has what `decision` says. Empty if it already has.
    pub fn prepare(
        snapshot: &Snapshot,
        declared: &BTreeMap<Id, Declared>,
        decision: &Decision,
        plans: &BTreeMap<String, CutPlan>,
        store_epoch: u64,
    ) -> Publication {
        let mut publication = Publication::default();
        publication.allocations(snapshot, &decision.compiled.allocations);
        if epoch::current(snapshot) != store_epoch {
            publication.allocations.push(Write::put(keys::EPOCH, store_epoch.to_string()).if_at(0));
        }
        for (node, plan) in plans {
            publication.plan(snapshot, node, plan, decision, store_epoch);
        }
        publication.withdraw(snapshot, declared);
        publication.admit(snapshot, declared, decision);
        publication.forget(snapshot, declared);
        publication.done(snapshot);
        publication
    }

    fn allocations(&mut self, snapshot: &Snapshot, allocations: &Allocations) {
        let json = canonical::to_json(allocations);
        let stored = snapshot.get(keys::ALLOCATIONS);
        if stored.is_none_or(|entry| *entry.value != json) {
            // Numbers must never be given out twice: only if nobody else has written any since they were read.
            let write = Write::put(keys::ALLOCATIONS, json).if_at(stored.map_or(0, |entry| entry.mod_revision));
            self.allocations.push(write);
        }
    }

    fn plan(&mut self, snapshot: &Snapshot, node: &str, plan: &CutPlan, decision: &Decision, store_epoch: u64) {
        let published = root(snapshot, node);
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: node.to_owned(),
            role: plan.role,
            store_epoch,
            generation: snapshot.inputs,
            fragments: plan.cut.hashes.clone(),
        };
        // The generation says when a plan was compiled; the same content compiled again is not news.
        let as_new = published.as_ref().map(|(_, old)| PlanRoot { generation: root.generation, ..old.clone() });
        if as_new.as_ref() == Some(&root) {
            return self.stale_fragments(snapshot, node, &root);
        }
        let findings = findings(node, plan, decision);
        if !findings.is_empty() {
            warn!(node, findings, "plan is not published: it is faulty");
            self.faulty.insert(node.to_owned(), findings);
            return;
        }
        for (name, sha256) in &root.fragments {
            let key = keys::plan_fragment(node, sha256);
            if snapshot.get(&key).is_none() {
                self.fragments.push(Write::put(key, plan.cut.json(name).unwrap_or_default()));
            }
        }
        info!(node, generation = root.generation, store_epoch = root.store_epoch, "plan published");
        let revision = published.map_or(0, |(revision, _)| revision);
        self.roots.push(Write::put(keys::plan_root(node), canonical::to_json(&root)).if_at(revision));
        if snapshot.get(&keys::plan_withdrawn(node)).is_some() {
            self.rest.push(Write::delete(keys::plan_withdrawn(node)));
        }
        self.stale_fragments(snapshot, node, &root);
    }

    fn stale_fragments(&mut self, snapshot: &Snapshot, node: &str, root: &PlanRoot) {
        let named: BTreeSet<&str> = root.fragments.values().map(String::as_str).collect();
        let folder = keys::plan_fragment(node, "");
        for (key, _) in snapshot.below(&folder) {
            if !named.contains(&key[folder.len()..]) {
                self.rest.push(Write::delete(key));
            }
        }
    }

    /// Takes back the plans of nodes that are no longer declared in any version. A node whose object is merely
    /// refused keeps the plan it has.
    fn withdraw(&mut self, snapshot: &Snapshot, declared: &BTreeMap<Id, Declared>) {
        let folder = format!("{}nodes/", keys::ROOT);
        for (key, _) in snapshot.below(&folder) {
            let Some(node) = key[folder.len()..].strip_suffix("/plan/root") else { continue };
            if Decision::is_node(declared, node) {
                continue;
            }
            info!(node, "plan withdrawn");
            self.rest.push(Write::put(keys::plan_withdrawn(node), "{}"));
            self.rest.push(Write::delete(key));
            let fragments = keys::plan_fragment(node, "");
            self.rest.extend(snapshot.below(&fragments).map(|(key, _)| Write::delete(key)));
        }
    }

    /// Remembers the newest versions that are now part of the plans.
    fn admit(&mut self, snapshot: &Snapshot, declared: &BTreeMap<Id, Declared>, decision: &Decision) {
        for (id, object) in declared {
            if let Ok(newest) = &*object.newest
                && !decision.refused.contains_key(id)
                && !object.is_admitted()
            {
                let key = keys::admitted(id.0, &id.1);
                let revision = snapshot.get(&key).map_or(0, |entry| entry.mod_revision);
                self.rest.push(Write::put(key, canonical::to_json(newest)).if_at(revision));
            }
        }
    }

    /// Drops what was said and remembered about objects that are gone.
    fn forget(&mut self, snapshot: &Snapshot, declared: &BTreeMap<Id, Declared>) {
        for folder in ["status", "admitted"] {
            let folder = format!("{}{folder}/", keys::ROOT);
            for (key, _) in snapshot.below(&folder) {
                let spec = format!("{}spec/{}", keys::ROOT, &key[folder.len()..]);
                let gone = keys::parse_spec(&spec)
                    .is_some_and(|(kind, name)| !declared.contains_key(&(kind, name.to_owned())));
                if gone {
                    self.rest.push(Write::delete(key));
                }
            }
        }
    }

    /// What somebody meant to be deleted is deleted, and nothing is left to be said of it. The last of all writes: if they
    /// end half way, it is still known to be meant.
    fn done(&mut self, snapshot: &Snapshot) {
        let folder = format!("{}deleting/", keys::ROOT);
        self.rest.extend(snapshot.below(&folder).map(|(key, entry)| Write::delete(key).if_at(entry.mod_revision)));
    }

    /// The last of all writes.
    pub fn and_last(&mut self, write: Option<Write>) {
        self.rest.extend(write);
    }

    /// Writes it, in the order that never shows half a plan. Returns the store revision after the last write, or 0
    /// if there was nothing to write.
    ///
    /// # Errors
    /// Somebody else wrote in between, or the store failed: look again and prepare anew.
    pub async fn write(self, writer: &Writer) -> Result<i64, WriteError> {
        let Publication { allocations, fragments, roots, rest, faulty: _ } = self;
        let mut revision = 0;
        for writes in [allocations, fragments, roots, rest] {
            revision = writer.commit(writes).await?.max(revision);
        }
        Ok(revision)
    }
}

/// The plan root of `node` and the revision that wrote it.
pub fn root(snapshot: &Snapshot, node: &str) -> Option<(i64, PlanRoot)> {
    let entry = snapshot.get(&keys::plan_root(node))?;
    // A root nobody can read is as good as none; the next publication writes over it.
    let root = serde_json::from_str(&entry.value).unwrap_or(PlanRoot {
        version: 0,
        node: node.to_owned(),
        role: pathsteer_crds::plan::Role::Edge,
        store_epoch: 0,
        generation: 0,
        fragments: BTreeMap::new(),
    });
    Some((entry.mod_revision, root))
}

fn findings(node: &str, plan: &CutPlan, decision: &Decision) -> String {
    let Some(overlay) = decision.overlay() else { return "a plan without a fabric".to_owned() };
    let found = check(node, &plan.cut.objects(), plan.role, overlay);
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
