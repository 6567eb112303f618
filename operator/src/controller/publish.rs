//! Publishing: allocations first, then fragments, then roots, then what is no longer needed goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_compiler::{Allocations, CompiledPlan, check};
use pathsteer_crds::plan::{Cut, PLAN_VERSION, PlanRoot, Role};
use pathsteer_crds::{Kind, canonical, keys};
use tracing::{info, warn};

use super::decision::Decision;
use super::declared::{Declarations, Id};
use super::epoch;
use super::ready::{Tunnel, tunnels};
use crate::store::{Entries, Snapshot, Write, WriteError, Writer, changed};

/// A plan, cut up to be published.
#[derive(Debug)]
pub struct CutPlan {
    role: Role,
    cut: Cut,
    /// `<noun>/<scope>` to SHA-256.
    hashes: BTreeMap<String, String>,
    /// As the plan declares them.
    pub tunnels: Vec<Tunnel>,
}

/// The plan of every node. What has not changed since the compilation before is the same `Arc`.
pub type CutPlans = BTreeMap<String, Arc<CutPlan>>;

/// Cuts `plans` up. `before` are those of the compilation before.
pub fn cut(plans: BTreeMap<String, CompiledPlan>, before: &CutPlans) -> CutPlans {
    let one = |(node, CompiledPlan { role, scopes }): (String, CompiledPlan)| {
        let before = before.get(&node);
        let cut = Cut::of(scopes, before.map(|before| &before.cut));
        let plan = match before {
            Some(before) if before.cut.is_same(&cut) && before.role == role => Arc::clone(before),
            _ => Arc::new(CutPlan { role, hashes: cut.hashes(), tunnels: tunnels(cut.scopes()), cut }),
        };
        (node, plan)
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

/// What the last publication looked at, all of which was written: the next one looks at what is different. By default
/// nothing, and the next looks at everything.
#[derive(Debug, Default)]
pub struct Done {
    pub entries: Entries,
    pub declared: Declarations,
    pub plans: CutPlans,
    pub store_epoch: u64,
    pub faulty: BTreeMap<String, String>,
}

/// What a publication looks at.
#[derive(Debug, Default)]
struct Touched {
    nodes: BTreeSet<String>,
    ids: BTreeSet<Id>,
}

impl Touched {
    fn since(done: &Done, snapshot: &Snapshot, declared: &Declarations, plans: &CutPlans, store_epoch: u64) -> Touched {
        let mut touched = Touched::default();
        let folder = format!("{}nodes/", keys::ROOT);
        for key in changed(&done.entries, &snapshot.entries) {
            let about = |folder| keys::parse(key, folder);
            if let Some(below) = key.strip_prefix(&folder) {
                let node = below.split_once('/').filter(|(_, what)| what.starts_with("plan/"));
                touched.nodes.extend(node.map(|(node, _)| node.to_owned()));
            } else if let Some((kind, name)) = about("spec").or_else(|| about("admitted")).or_else(|| about("status")) {
                touched.ids.insert((kind, name.to_owned()));
            }
        }
        touched.ids.extend(changed(&done.declared, declared).cloned());
        let is_node = |kind: Kind| matches!(kind, Kind::Site | Kind::Anchor);
        touched.nodes.extend(touched.ids.iter().filter(|(kind, _)| is_node(*kind)).map(|(_, key)| key.clone()));
        let all = store_epoch != done.store_epoch;
        let same = |node: &str, plan| done.plans.get(node).is_some_and(|done| Arc::ptr_eq(done, plan));
        let others = plans.iter().filter(|(node, plan)| all || !same(node, plan) || done.faulty.contains_key(*node));
        touched.nodes.extend(others.map(|(node, _)| node.clone()));
        touched
    }
}

impl Publication {
    /// What to write so that the store has what `decision` says. Empty if it already has.
    pub fn prepare(
        snapshot: &Snapshot,
        declared: &Declarations,
        (decision, allocations): (&Decision, Option<&Allocations>),
        plans: &CutPlans,
        store_epoch: u64,
        done: &Done,
    ) -> Publication {
        let mut publication = Publication::default();
        let touched = Touched::since(done, snapshot, declared, plans, store_epoch);
        if allocations != Some(&decision.compiled.allocations) || snapshot.get(keys::ALLOCATIONS).is_none() {
            publication.allocations(snapshot, &decision.compiled.allocations);
        }
        if epoch::current(snapshot) != store_epoch {
            publication.allocations.push(Write::put(keys::EPOCH, store_epoch.to_string()).if_at(0));
        }
        for node in &touched.nodes {
            match plans.get(node) {
                Some(plan) => publication.plan(snapshot, node, plan, decision, store_epoch),
                None if Decision::is_node(declared, node) => {}
                None => publication.withdraw(snapshot, node),
            }
        }
        publication.admit(snapshot, declared, decision);
        for id in touched.ids.iter().filter(|id| !declared.contains_key(*id)) {
            publication.forget(snapshot, id);
        }
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
            fragments: plan.hashes.clone(),
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

    /// Takes back the plan of a node that is no longer declared in any version. A node whose object is merely refused
    /// keeps the plan it has.
    fn withdraw(&mut self, snapshot: &Snapshot, node: &str) {
        let key = keys::plan_root(node);
        if snapshot.get(&key).is_none() {
            return;
        }
        info!(node, "plan withdrawn");
        self.rest.push(Write::put(keys::plan_withdrawn(node), "{}"));
        self.rest.push(Write::delete(key));
        let fragments = keys::plan_fragment(node, "");
        self.rest.extend(snapshot.below(&fragments).map(|(key, _)| Write::delete(key)));
    }

    /// Remembers the newest versions that are now part of the plans.
    fn admit(&mut self, snapshot: &Snapshot, declared: &Declarations, decision: &Decision) {
        for (id, object) in declared {
            if let Ok(newest) = &object.newest
                && !decision.refused.contains_key(id)
                && !object.is_admitted()
            {
                let key = keys::admitted(id.0, &id.1);
                let revision = snapshot.get(&key).map_or(0, |entry| entry.mod_revision);
                self.rest.push(Write::put(key, canonical::to_json(&**newest)).if_at(revision));
            }
        }
    }

    /// Drops what was said and remembered about an object that is gone.
    fn forget(&mut self, snapshot: &Snapshot, (kind, key): &Id) {
        let said = [keys::status(*kind, key), keys::admitted(*kind, key)];
        self.rest.extend(said.into_iter().filter(|key| snapshot.get(key).is_some()).map(Write::delete));
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

    /// Writes it, in the order that never shows half a plan; what is little, at once. Returns the store revision after the
    /// last write, or 0 if there was nothing to write.
    ///
    /// # Errors
    /// Somebody else wrote in between, or the store failed: look again and prepare anew.
    pub async fn write(self, writer: &Writer) -> Result<i64, WriteError> {
        let Publication { allocations, fragments, roots, rest, faulty: _ } = self;
        writer.commit([allocations, fragments, roots, rest].concat()).await
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
