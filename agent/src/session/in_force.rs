//! The plan in force: the last good one, on disk and told to the reconciler; and back to the one before, if the operator
//! does not hear of it.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use pathsteer_agent_core::{DeadMan, Expiry, SinceBoot, underlay};
use pathsteer_crds::{
    ownership::{HOST, is_host_end},
    plan::{FragmentError, NodePlan, PathSpec, PlanRoot, assemble},
};
use tokio::sync::watch;

use crate::{
    problems::Problem,
    state::{SavedPlan, StateDir},
    sys::clock,
};

/// What a plan of an operator that knows no dead-man is given.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes plans that are whole and not older.
pub struct InForce {
    state: StateDir,
    saved: Option<SavedPlan>,
    /// The disk did not take it.
    unsaved: bool,
    /// What the node begins with before its first plan.
    bootstrap: NodePlan,
    dead_man: DeadMan,
    /// The plan before, while the one in force is on trial.
    before: Option<SavedPlan>,
    plans: watch::Sender<Option<NodePlan>>,
    deadline: watch::Sender<Option<Instant>>,
}

impl InForce {
    /// Begins with what is on disk. A plan that cannot be read is as good as none.
    pub fn load(state: StateDir, bootstrap: NodePlan) -> Self {
        let saved = state.plan().unwrap_or_else(|error| {
            tracing::error!(%error, "the saved plan is unusable; waiting for the operator's");
            None
        });
        let (saved, plan) = match saved {
            Some((saved, plan)) => (Some(saved), plan),
            None => (None, bootstrap.clone()),
        };
        let mut dead_man = state.dead_man();
        dead_man.resume(since_boot());
        let before = state.plan_before();
        let (plans, deadline) = (watch::Sender::new(Some(plan)), watch::Sender::new(None));
        let mut in_force = InForce { state, saved, unsaved: false, bootstrap, dead_man, before, plans, deadline };
        let generation = in_force.order().1;
        if in_force.dead_man.is_back() && in_force.dead_man.blamed().is_some_and(|one| one.generation == generation) {
            // the agent died between the decision and the deed
            in_force.go_back();
        }
        in_force.remember();
        in_force
    }

    /// Every plan from now on, the first at once.
    pub fn plans(&self) -> watch::Receiver<Option<NodePlan>> {
        self.plans.subscribe()
    }

    /// When [`InForce::expire`] is to be called.
    pub fn deadlines(&self) -> watch::Receiver<Option<Instant>> {
        self.deadline.subscribe()
    }

    /// The plan in force, and whether it says everything: before the first one nothing may be deleted.
    pub fn plan(&self) -> (NodePlan, bool) {
        let plan = self.plans.borrow().clone().unwrap_or_else(|| self.bootstrap.clone());
        (plan, self.saved.is_some() || self.dead_man.blamed().is_some())
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

    /// Whether what leaves the node's own namespace from this address goes by an uplink.
    pub fn leads_through_uplinks(&self, from: IpAddr) -> bool {
        let plan = self.plans.borrow();
        let addresses = plan.iter().flat_map(|plan| &plan.objects.addresses);
        addresses.into_iter().any(|one| one.netns == HOST && is_host_end(&one.link) && one.address.addr() == from)
    }

    /// A plan that is whole and not older is kept on disk and put into force; any other changes nothing. Of `fragments`
    /// those stay that it names.
    ///
    /// # Errors
    /// It is not whole.
    pub fn take(
        &mut self,
        revision: i64,
        root: PlanRoot,
        fragments: &mut BTreeMap<String, String>,
    ) -> Result<(), FragmentError> {
        let plan = assemble(&root, fragments).inspect_err(|error| {
            tracing::error!(generation = root.generation, %error, "plan refused, the last good one stays");
            let why = format!("generation {} is refused, the last good one stays: {error}", root.generation);
            self.state.problems().put(Problem::Plan, Some(why));
        })?;
        if plan.order() < self.order() {
            tracing::warn!(generation = plan.generation, "older plan refused");
            return Ok(());
        }
        if !self.begin_trial(&plan) {
            return Ok(());
        }
        fragments.retain(|sha256, _| root.fragments.values().any(|named| named == sha256));
        self.state.problems().put(Problem::Plan, None);
        self.saved = Some(SavedPlan { revision, root, fragments: fragments.clone() });
        tracing::info!(store_epoch = plan.store_epoch, generation = plan.generation, "plan");
        // the disk is slower than the kernel: whoever carries it out need not wait
        self.plans.send_replace(Some(plan));
        if let Err(error) = self.save() {
            tracing::error!(%error, "cannot save the plan: it is in force, but a reboot would begin with the one before");
        }
        Ok(())
    }

    /// Tries once more to save what the disk did not take.
    pub fn save_again(&mut self) {
        if self.unsaved && self.save().is_ok() {
            tracing::info!(generation = self.order().1, "the plan is saved");
        }
    }

    fn save(&mut self) -> io::Result<()> {
        let saved = self.saved.as_ref().map_or(Ok(()), |saved| self.state.save_plan(saved));
        self.unsaved = saved.is_err();
        saved
    }

    /// Puts `plan` on trial if it reaches others otherwise than the one in force; false if that has failed before.
    fn begin_trial(&mut self, plan: &NodePlan) -> bool {
        let patience = patience(plan);
        let (now, next) = (underlay(&self.plan().0.objects), underlay(&plan.objects));
        if let Some(blamed) = self.dead_man.refusal(&next, patience) {
            let (generation, waited) = (blamed.generation, blamed.patience);
            tracing::error!(
                generation = plan.generation,
                "plan refused: with the uplinks it declares, those of generation {generation}, the operator was out of \
                 reach for {waited:?}; change an Uplink, or set the Site's deadManSeconds to 0 to insist"
            );
            let why = format!(
                "generation {} is refused: with its uplinks the operator was out of reach for {waited:?}; change an Uplink, or \
                 set the Site's deadManSeconds to 0 to insist",
                plan.generation
            );
            self.state.problems().put(Problem::Plan, Some(why));
            return false;
        }
        let was_on_trial = self.dead_man.is_on_trial();
        self.dead_man.take(&now, &next, patience, since_boot());
        if self.dead_man.is_on_trial() && !was_on_trial {
            self.before.clone_from(&self.saved);
            tracing::info!(
                generation = plan.generation,
                ?patience,
                "other uplinks: on trial until the operator hears of it"
            );
            warn("the plan before", self.state.save_plan_before(self.before.as_ref()));
        }
        self.remember();
        true
    }

    /// The operator has heard of the plan with this order.
    pub fn heard(&mut self, order: (u64, i64)) {
        if order == self.order() && self.dead_man.poll_timeout(&since_boot()).is_some() {
            tracing::info!(generation = order.1, "the operator has heard of it: no longer on trial");
            self.dead_man.heard();
            self.remember();
        }
    }

    /// Does what is to be done if the operator has not heard of the plan in time.
    pub fn expire(&mut self) {
        let generation = self.order().1;
        let expiry = self.dead_man.expire(generation, &since_boot());
        if expiry.is_some() {
            // first: whoever dies in between finishes it at the next start
            self.remember();
        }
        match expiry {
            Some(Expiry::TakeBack) => {
                tracing::error!(generation, "the operator has not heard of it in time: the plan before comes back");
                let why = format!("generation {generation} was taken back: the operator did not hear of it in time");
                self.state.problems().put(Problem::Plan, Some(why));
                self.go_back();
            }
            Some(Expiry::NotToBlame) => {
                tracing::warn!("going back has not helped: those uplinks may be tried again");
            }
            None => {}
        }
        self.remember();
    }

    fn go_back(&mut self) {
        let before = self.before.clone();
        let plan = before.as_ref().and_then(|before| assemble(&before.root, &before.fragments).ok());
        let plan = plan.unwrap_or_else(|| self.bootstrap.clone());
        let kept = before.as_ref().map_or_else(|| self.state.forget_plan(), |plan| self.state.save_plan(plan));
        self.unsaved = kept.is_err();
        warn("the plan", kept);
        self.saved = before;
        self.plans.send_replace(Some(plan));
    }

    /// Keeps on disk how things stand, and says when to look again.
    fn remember(&mut self) {
        if self.state.dead_man() != self.dead_man {
            warn("the trial", self.state.save_dead_man(&self.dead_man));
        }
        let due = self.dead_man.poll_timeout(&since_boot()).map(|left| Instant::now() + left);
        self.deadline.send_replace(due);
    }
}

fn patience(plan: &NodePlan) -> Duration {
    plan.objects.dead_man.first().map_or(PATIENCE, |dead_man| Duration::from_secs(dead_man.seconds.into()))
}

/// What could not be written is in force all the same.
fn warn(what: &str, saved: io::Result<()>) {
    if let Err(error) = saved {
        tracing::error!(%error, "cannot save {what}: after a reboot it is not known");
    }
}

fn since_boot() -> SinceBoot {
    SinceBoot { boot: clock::boot_id().unwrap_or_default(), at: clock::since_boot() }
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::{
        canonical,
        plan::{NetnsSpec, PLAN_VERSION, PlanObjects, Role, split},
    };

    use super::*;
    use pathsteer_agent_core::bootstrap_plan;

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

    fn load(state: &StateDir) -> InForce {
        InForce::load(state.clone(), bootstrap_plan("rv-07", &BTreeMap::new()))
    }

    /// Plans taken one after the other, and which one is then in force and on disk.
    fn taken(plans: Vec<(PlanRoot, BTreeMap<String, String>)>) -> (Option<i64>, Option<i64>) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut in_force = load(&state);
        let seen = in_force.plans();
        for (root, mut fragments) in plans {
            let _refused = in_force.take(7, root, &mut fragments).is_err();
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
    fn any_flipped_bit_of_a_fragment_and_any_truncation_is_refused_and_the_last_good_one_stays() {
        let (root, good) = plan((1, 6), "psan");
        let (sha256, json) = good.first_key_value().unwrap();
        let flipped = (0..json.len() * 8).filter_map(|bit| {
            let mut bytes = json.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // what is no text does not even come through the stream
            String::from_utf8(bytes).ok()
        });
        for damaged in flipped.chain((0..json.len()).map(|end| json[..end].to_owned())) {
            let fragments = BTreeMap::from([(sha256.clone(), damaged.clone())]);
            assert_eq!(taken(vec![plan((1, 5), "psvip"), (root.clone(), fragments)]), (Some(5), Some(5)), "{damaged}");
        }
        assert_eq!(taken(vec![plan((1, 5), "psvip"), (root, good)]), (Some(6), Some(6)));
    }

    #[test]
    fn a_version_that_this_agent_does_not_read_is_refused_and_the_last_good_one_stays() {
        let (root, good) = plan((1, 6), "psan");
        let root = PlanRoot { version: PLAN_VERSION + 1, ..root };
        assert_eq!(taken(vec![plan((1, 5), "psvip"), (root, good)]), (Some(5), Some(5)));
    }

    #[test]
    fn what_the_next_plan_does_not_name_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut in_force = load(&StateDir::open(folder.path()).unwrap());
        let (root, mut fragments) = plan((1, 5), "psvip");
        fragments.insert("old".into(), "{}".into());
        in_force.take(7, root, &mut fragments).unwrap();
        assert_eq!((fragments.len(), in_force.fragments().len(), in_force.revision()), (1, 1, 7));
    }

    /// A plan whose only card is `card`.
    fn with_card(generation: i64, card: &str) -> (PlanRoot, BTreeMap<String, String>) {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, card.to_owned())]));
        let fragments = split(&BTreeMap::from([("node".to_owned(), plan.objects)]));
        let hash = |json: &String| canonical::sha256(json.as_bytes());
        let named = fragments.iter().map(|(name, json)| (name.clone(), hash(json))).collect();
        let root = PlanRoot { store_epoch: 1, generation, fragments: named, ..self::plan((1, generation), "x").0 };
        (root, fragments.into_values().map(|json| (hash(&json), json)).collect())
    }

    fn take(in_force: &mut InForce, (root, mut fragments): (PlanRoot, BTreeMap<String, String>)) {
        in_force.take(root.generation, root, &mut fragments).unwrap();
    }

    #[test]
    fn a_plan_with_other_uplinks_is_on_trial_over_a_restart_until_the_operator_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut in_force = load(&state);
        take(&mut in_force, with_card(5, "wan1"));
        in_force.heard((1, 5));
        assert_eq!(*in_force.deadlines().borrow(), None);
        take(&mut in_force, with_card(6, "wan1"));
        assert_eq!(*in_force.deadlines().borrow(), None, "the same uplinks");
        take(&mut in_force, with_card(7, "wan2"));
        assert!(in_force.deadlines().borrow().is_some());
        in_force.heard((1, 6));
        let mut again = load(&state);
        assert!(again.deadlines().borrow().is_some(), "heard of the one before, and restarted");
        again.heard((1, 7));
        assert_eq!((again.order(), *again.deadlines().borrow()), ((1, 7), None));
    }

    #[test]
    fn an_agent_that_dies_between_decision_and_deed_goes_back_at_its_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut in_force = load(&state);
        take(&mut in_force, with_card(5, "wan1"));
        in_force.heard((1, 5));
        take(&mut in_force, with_card(7, "wan2"));
        let far = SinceBoot { at: since_boot().at + 2 * PATIENCE, ..since_boot() };
        assert_eq!(in_force.dead_man.expire(7, &far), Some(Expiry::TakeBack));
        in_force.remember();
        let (root, _) = with_card(7, "wan2");
        assert_eq!(state.plan().unwrap().map(|(saved, _)| saved.root), Some(root), "the deed is not done");

        let mut again = load(&state);
        assert_eq!(again.order(), (1, 5));
        take(&mut again, with_card(8, "wan2"));
        assert_eq!(again.order(), (1, 5), "those uplinks are refused");
        take(&mut again, with_card(9, "wan3"));
        assert_eq!(again.order(), (1, 9), "others are not");
    }

    #[test]
    fn before_the_first_plan_there_is_the_bootstrap_plan_to_go_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut in_force = load(&state);
        assert!(!in_force.plan().1, "nothing may be deleted yet");
        take(&mut in_force, with_card(5, "wan1"));
        let far = SinceBoot { at: since_boot().at + 2 * PATIENCE, ..since_boot() };
        assert_eq!(in_force.dead_man.expire(5, &far), Some(Expiry::TakeBack));
        in_force.go_back();
        assert_eq!((in_force.order(), in_force.plan().1), ((0, 0), true), "what the plan made has to go");
        assert_eq!(load(&state).order(), (0, 0));
    }
}
