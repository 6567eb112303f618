//! What turns have changed: the last one's outcomes, and what somebody else keeps changing.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::report::{ChangeOutcome, ChangeReport, ChangesReport, DriftReport, Moment};

use crate::{Action, Outcome, Turn};

/// Outcomes told one by one; the first turn of a large anchor has thousands.
const TOLD: usize = 64;
/// Drifting objects remembered. Who keeps changing something changes the same few objects.
const REMEMBERED: usize = 32;

/// What was changed since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    last: Option<ChangesReport>,
    drift: BTreeMap<String, DriftReport>,
    repaired: u64,
}

impl History {
    /// Takes what came of a turn at `now`. One that changed nothing leaves everything as it was.
    pub fn take(&mut self, turn: &Turn, now: &Moment) {
        for drifted in &turn.drift {
            let object = &drifted.object;
            let times = self.drift.get(object).map_or(0, |before| before.times) + 1;
            let (found, last) = (drifted.found.clone(), now.clone());
            self.drift.insert(object.clone(), DriftReport { object: object.clone(), found, times, last });
        }
        self.repaired += turn.drift.len() as u64;
        while self.drift.len() > REMEMBERED
            && let Some(oldest) = self.drift.values().min_by_key(|one| (one.last.since_uptime, one.times))
        {
            let oldest = oldest.object.clone();
            self.drift.remove(&oldest);
        }
        if !turn.outcomes.is_empty() {
            self.last = Some(told(turn, now));
        }
    }

    /// What came of the last turn that changed something.
    pub fn last(&self) -> Option<&ChangesReport> {
        self.last.as_ref()
    }

    /// The drifting objects by name, and how many repairs there were in all.
    pub fn drift(&self) -> (Vec<DriftReport>, u64) {
        (self.drift.values().cloned().collect(), self.repaired)
    }
}

fn told(turn: &Turn, now: &Moment) -> ChangesReport {
    let drifted: BTreeSet<&str> = turn.drift.iter().map(|drifted| drifted.object.as_str()).collect();
    let mut report = ChangesReport { at: now.clone(), ..ChangesReport::default() };
    let mut objects: Vec<ChangeReport> = turn.outcomes.iter().map(|outcome| one(outcome, &drifted)).collect();
    for object in &objects {
        *match object.outcome {
            ChangeOutcome::Failed => &mut report.failed,
            ChangeOutcome::Created => &mut report.created,
            ChangeOutcome::Updated => &mut report.updated,
            ChangeOutcome::Deleted => &mut report.deleted,
        } += 1;
        report.drift += u64::from(object.drift);
    }
    objects.sort_by_key(|object| (object.outcome != ChangeOutcome::Failed, !object.drift));
    objects.truncate(TOLD);
    report.objects = objects;
    report
}

fn one(outcome: &Outcome, drifted: &BTreeSet<&str>) -> ChangeReport {
    let object = outcome.change.object.name();
    let how = match (&outcome.failure, outcome.change.action) {
        (Some(_), _) => ChangeOutcome::Failed,
        (None, Action::Create) => ChangeOutcome::Created,
        (None, Action::Update) => ChangeOutcome::Updated,
        (None, Action::Delete) => ChangeOutcome::Deleted,
    };
    ChangeReport { drift: drifted.contains(object.as_str()), outcome: how, reason: outcome.failure.clone(), object }
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::plan::{NetnsSpec, PlanObjects};

    use super::*;
    use crate::Sweep;
    use crate::{Drifted, changes};

    fn at(uptime: u64) -> Moment {
        Moment { since: format!("after {uptime} s"), since_uptime: uptime }
    }

    fn netns(name: &str) -> PlanObjects {
        PlanObjects { netns: vec![NetnsSpec { name: name.into() }], ..PlanObjects::default() }
    }

    /// A turn that created one namespace and deleted another, with these failures.
    fn turn(made: Option<&str>, deleted: Option<&str>, drift: &[(&str, &str)]) -> Turn {
        let failure = |action| if action == Action::Delete { deleted } else { made };
        let outcomes = changes(&netns("psup1"), &netns("psup2"), Sweep::Everything)
            .into_iter()
            .map(|change| Outcome { failure: failure(change.action).map(str::to_owned), change })
            .collect();
        let drift = drift.iter().map(|(object, found)| Drifted { object: (*object).into(), found: (*found).into() });
        Turn { outcomes, drift: drift.collect(), ..Turn::default() }
    }

    #[test]
    fn the_last_turn_that_changed_something_is_told_object_by_object() {
        let mut history = History::default();
        history.take(&turn(None, Some("busy"), &[("netns psup1", "is missing")]), &at(7));
        history.take(&Turn::default(), &at(8));
        let last = history.last().unwrap();
        assert_eq!((last.created, last.updated, last.deleted, last.failed, last.drift), (1, 0, 0, 1, 1));
        assert_eq!(last.at, at(7));
        let told: Vec<_> = last.objects.iter().map(|one| (&*one.object, one.outcome, one.drift)).collect();
        let failed = ("netns psup2", ChangeOutcome::Failed, false);
        assert_eq!(told, [failed, ("netns psup1", ChangeOutcome::Created, true)], "failures come first");
        assert_eq!(last.objects[0].reason.as_deref(), Some("busy"));
    }

    #[test]
    fn what_drifts_again_and_again_is_one_line_that_says_how_often_and_how_it_was_found_last() {
        let mut history = History::default();
        history.take(&turn(None, None, &[("rule psvip 7701", "is missing"), ("link psvip/ps0", "mtu is 9")]), &at(1));
        history.take(&turn(None, None, &[("link psvip/ps0", "is missing")]), &at(5));
        let (drift, repaired) = history.drift();
        assert_eq!(repaired, 3);
        let lines: Vec<_> = drift.iter().map(|one| (&*one.object, &*one.found, one.times, &one.last)).collect();
        let (one, five) = (at(1), at(5));
        assert_eq!(lines, [("link psvip/ps0", "is missing", 2, &five), ("rule psvip 7701", "is missing", 1, &one)]);
    }

    #[test]
    fn however_much_drifts_what_is_told_stays_small_and_the_newest_is_in_it() {
        let mut history = History::default();
        for number in 0..200 {
            history.take(&turn(None, None, &[(&format!("route {number}"), "is missing")]), &at(number));
        }
        let (drift, repaired) = history.drift();
        assert_eq!((drift.len(), repaired), (REMEMBERED, 200));
        assert!(drift.iter().any(|one| one.object == "route 199") && drift.iter().all(|one| one.object != "route 1"));
    }
}
