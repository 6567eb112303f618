//! What would come of a change: the same compilation, of what would be declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use pathsteer_compiler::CompiledPlan;
use pathsteer_crds::plan::{NodePlan, PLAN_VERSION, PlanRoot, assemble, split};
use pathsteer_crds::{AnyObject, canonical};

use super::declared::{Declared, Id, Reader};
use super::memory::Stored;
use super::{TurnError, decision::Decider};
use crate::store::Snapshot;

/// What would come of it.
#[derive(Debug)]
pub struct Preview {
    /// Why an object would not be part of the plans: of those written, and of others that are part of them now.
    pub refused: Vec<(Id, String)>,
    /// The plan of the node that was asked for, if it would have one.
    pub plan: Option<NodePlan>,
}

/// Compiles what is declared in `snapshot` with `written` in it and `gone` not.
///
/// # Errors
/// The allocations in the store cannot be read.
pub fn preview(
    snapshot: &Snapshot,
    written: Vec<AnyObject>,
    gone: Vec<Id>,
    node: Option<&str>,
) -> Result<Preview, TurnError> {
    let mut declared = Reader::default().read(snapshot);
    let asked: Vec<Id> = written.iter().map(|object| (object.kind(), object.key())).collect();
    let matters: Vec<Id> = declared
        .iter()
        .filter(|(_, object)| object.admitted.is_some())
        .map(|(id, _)| id.clone())
        .chain(asked)
        .collect();
    for id in gone {
        declared.remove(&id);
    }
    for object in written {
        let id = (object.kind(), object.key());
        let admitted = declared.remove(&id).and_then(|before| before.admitted);
        let mod_revision = snapshot.revision + 1;
        declared.insert(id, Declared::new(mod_revision, Ok(Arc::new(object)), admitted));
    }
    let known = Stored::default().read(snapshot).map_err(TurnError::Allocations)?;
    let allocations = known.allocations.unwrap_or_default();
    let decision = Decider::default().decide(&declared, &known.identities, &allocations);
    let refused = decision.refused.iter().filter(|(id, _)| matters.contains(id));
    let plan = node.and_then(|node| {
        Some(assembled((known.store_epoch, snapshot.inputs), node, decision.compiled.plans.get(node)?))
    });
    Ok(Preview { refused: refused.map(|(id, reason)| (id.clone(), reason.sentence.clone())).collect(), plan })
}

fn assembled((store_epoch, generation): (u64, i64), node: &str, plan: &CompiledPlan) -> NodePlan {
    let by_name = split(&plan.scopes);
    let hash = |json: &String| canonical::sha256(json.as_bytes());
    let root = PlanRoot {
        version: PLAN_VERSION,
        node: node.to_owned(),
        role: plan.role,
        store_epoch,
        generation,
        fragments: by_name.iter().map(|(name, json)| (name.clone(), hash(json))).collect(),
    };
    let by_hash: BTreeMap<_, _> = by_name.values().map(|json| (hash(json), json.clone())).collect();
    assemble(&root, &by_hash).expect("every fragment named is there, under its own hash")
}
