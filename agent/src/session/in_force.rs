//! The plan in force: the last good one, on disk and told to the reconciler.

use std::collections::BTreeMap;

use pathsteer_crds::plan::{NodePlan, PathSpec, PlanRoot, assemble};
use tokio::sync::watch;

use crate::state::{SavedPlan, StateDir};

/// Takes plans that are whole and not older.
pub(super) struct InForce {
    state: StateDir,
    saved: Option<SavedPlan>,
    plans: watch::Sender<Option<NodePlan>>,
}

impl InForce {
    /// Begins with what was `saved`; what is taken later is sent to `plans`.
    pub fn new(state: StateDir, saved: Option<SavedPlan>, plans: watch::Sender<Option<NodePlan>>) -> Self {
        InForce { state, saved, plans }
    }

    /// Store epoch and generation; 0 and 0 before the first plan.
    pub fn order(&self) -> (u64, i64) {
        self.saved.as_ref().map_or((0, 0), |saved| (saved.root.store_epoch, saved.root.generation))
    }

    /// Where the plan stream resumes.
    pub fn revision(&self) -> i64 {
        self.saved.as_ref().map_or(0, |saved| saved.revision)
    }

    /// Its fragments by hash: what did not change is not sent again.
    pub fn fragments(&self) -> BTreeMap<String, String> {
        self.saved.as_ref().map(|saved| saved.fragments.clone()).unwrap_or_default()
    }

    /// Its paths, or those of the bootstrap plan.
    pub fn paths(&self) -> Vec<PathSpec> {
        self.plans.borrow().as_ref().map(|plan| plan.objects.paths.clone()).unwrap_or_default()
    }

    /// A plan that is whole and not older is kept on disk and put into force; any other changes nothing. Of `fragments`
    /// those stay that it names.
    pub fn take(&mut self, revision: i64, root: PlanRoot, fragments: &mut BTreeMap<String, String>) {
        let plan = match assemble(&root, fragments) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(generation = root.generation, %error, "plan refused, the last good one stays");
                return;
            }
        };
        if plan.order() < self.order() {
            tracing::warn!(generation = plan.generation, "older plan refused");
            return;
        }
        fragments.retain(|sha256, _| root.fragments.values().any(|named| named == sha256));
        let saved = SavedPlan { revision, root, fragments: fragments.clone() };
        if let Err(error) = self.state.save_plan(&saved) {
            tracing::error!(%error, "cannot save the plan: it is in force, but a reboot would begin with the one before");
        }
        tracing::info!(store_epoch = plan.store_epoch, generation = plan.generation, "plan");
        self.saved = Some(saved);
        self.plans.send_replace(Some(plan));
    }
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::{
        canonical,
        plan::{NetnsSpec, PLAN_VERSION, PlanObjects, Role, split},
    };

    use super::*;

    fn plan(order: (u64, i64), netns: &str) -> (PlanRoot, BTreeMap<String, String>) {
        let objects = PlanObjects { netns: vec![NetnsSpec { name: netns.into() }], ..PlanObjects::default() };
        let fragments = split(&BTreeMap::from([("node".to_owned(), objects)]));
        let hash = |json: &String| canonical::sha256(json.as_bytes());
        let named = fragments.iter().map(|(name, json)| (name.clone(), hash(json))).collect();
        let (store_epoch, generation) = order;
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: "rv-07".into(),
            role: Role::Edge,
            store_epoch,
            generation,
            fragments: named,
        };
        (root, fragments.into_values().map(|json| (hash(&json), json)).collect())
    }

    /// Plans taken one after the other, and which one is then in force and on disk.
    fn taken(plans: Vec<(PlanRoot, BTreeMap<String, String>)>) -> (Option<i64>, Option<i64>) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let (sender, seen) = watch::channel(None);
        let mut in_force = InForce::new(state.clone(), None, sender);
        for (root, mut fragments) in plans {
            in_force.take(7, root, &mut fragments);
        }
        let on_disk = state.plan().unwrap().map(|(_, plan)| plan.generation);
        (seen.borrow().as_ref().map(|plan| plan.generation), on_disk)
    }

    #[test]
    fn an_older_plan_is_refused_and_the_last_good_one_stays() {
        assert_eq!(taken(vec![plan((1, 5), "psvip"), plan((1, 4), "psan")]), (Some(5), Some(5)));
        assert_eq!(taken(vec![plan((1, 5), "psvip"), plan((1, 6), "psan")]), (Some(6), Some(6)));
        assert_eq!(taken(vec![plan((1, 5), "psvip"), plan((2, 1), "psan")]), (Some(1), Some(1)), "a restored store");
        assert_eq!(taken(vec![plan((2, 1), "psvip"), plan((1, 9), "psan")]), (Some(1), Some(1)), "the one before it");
    }

    #[test]
    fn half_a_plan_is_refused_and_the_last_good_one_stays() {
        let (root, _) = plan((1, 6), "psan");
        assert_eq!(taken(vec![plan((1, 5), "psvip"), (root, BTreeMap::new())]), (Some(5), Some(5)));
    }

    #[test]
    fn what_the_next_plan_does_not_name_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut in_force = InForce::new(StateDir::open(folder.path()).unwrap(), None, watch::channel(None).0);
        let (root, mut fragments) = plan((1, 5), "psvip");
        fragments.insert("old".into(), "{}".into());
        in_force.take(7, root, &mut fragments);
        assert_eq!((fragments.len(), in_force.fragments().len(), in_force.revision()), (1, 1, 7));
    }
}
