//! What came of a turn.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::plan::PlanObjects;
use pathsteer_crds::report::{Moment, ObjectReport};
use serde_json::Value;

use crate::apply_order::{ORDER, names};
use crate::noun::{Noun, by_key, same};
use crate::{Action, Change, Drifted};

/// What came of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub change: Change,
    /// Why it failed, with the remedy where there is one; absent when it was applied.
    pub failure: Option<String>,
}

/// What came of one turn: observe, plan, apply, observe again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    pub outcomes: Vec<Outcome>,
    /// What is still not as declared after the changes, and what could not be deleted, each with the reason.
    pub not_as_declared: Vec<ObjectReport>,
    /// Objects that somebody else had changed.
    pub drift: Vec<Drifted>,
}

impl Turn {
    /// Sums up a turn from what is desired, the kernel as observed after the changes, and what came of those.
    pub fn new(desired: &PlanObjects, observed: &PlanObjects, outcomes: Vec<Outcome>, drift: Vec<Drifted>) -> Turn {
        let failures: BTreeMap<String, &Outcome> = outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_some())
            .map(|outcome| (outcome.change.object.name(), outcome))
            .collect();
        let mut reports = not_as_declared(desired, observed);
        for report in &mut reports {
            if let Some(failure) = failures.get(&report.object).and_then(|outcome| outcome.failure.as_ref()) {
                report.reason = format!("{}: {failure}", report.reason);
            }
        }
        let deletions = || outcomes.iter().filter(|outcome| outcome.change.action == Action::Delete);
        let left = if deletions().next().is_some() { &names(observed) - &names(desired) } else { BTreeSet::new() };
        for outcome in deletions() {
            let object = outcome.change.object.name();
            let why = match &outcome.failure {
                Some(failure) => failure,
                None if left.contains(&object) => "its deletion changed nothing",
                None => continue,
            };
            if !reports.iter().any(|report| report.object == object) {
                let reason = format!("is not declared, and is still there: {why}");
                reports.push(ObjectReport { object, reason, since: Moment::default() });
            }
        }
        Turn { outcomes, not_as_declared: reports, drift }
    }

    /// Everything declared was seen in the kernel as declared, and nothing is left over.
    pub fn verified(&self) -> bool {
        self.not_as_declared.is_empty()
    }
}

/// Adds what came of a later pass over the same turn: of an object that was changed again, the latest counts.
pub fn latest(outcomes: &mut Vec<Outcome>, later: &[Outcome]) {
    let again: BTreeSet<String> = later.iter().map(|outcome| outcome.change.object.name()).collect();
    outcomes.retain(|outcome| !again.contains(&outcome.change.object.name()));
    outcomes.extend_from_slice(later);
}

/// The objects of `desired` that `observed` does not hold as declared, in apply order.
pub fn not_as_declared(desired: &PlanObjects, observed: &PlanObjects) -> Vec<ObjectReport> {
    ORDER.iter().flat_map(|stage| (stage.wrong)(desired, observed)).collect()
}

pub(crate) fn wrong<T: Noun>(desired: &PlanObjects, observed: &PlanObjects) -> Vec<ObjectReport> {
    if same::<T>(desired, observed) {
        return Vec::new();
    }
    let observed = by_key::<T>(observed);
    T::list(desired)
        .iter()
        .filter_map(|declared| {
            let reason = match observed.get(&declared.key()).map(Vec::as_slice) {
                None | Some([]) => "is missing".to_owned(),
                Some(same) if same.iter().any(|found| declared.satisfied_by(found)) => return None,
                Some([first, ..]) => differences(declared, first),
            };
            Some(ObjectReport { object: declared.name(), reason, since: Moment::default() })
        })
        .collect()
}

/// The declared fields that differ, in words. Lists are too long to print.
fn differences<T: Noun>(declared: &T, found: &T) -> String {
    let fields = |one: &T| match serde_json::to_value(one) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let found = fields(found);
    let differing: Vec<String> = fields(declared)
        .into_iter()
        .filter(|(field, value)| found.get(field) != Some(value))
        .map(|(field, value)| match (value, found.get(&field)) {
            (Value::Array(_), _) => format!("{field} differ"),
            (value, Some(other)) => format!("{field} is {other} instead of {value}"),
            (value, None) => format!("{field} is not set instead of {value}"),
        })
        .collect();
    differing.join(", ")
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::plan::{LinkKind, LinkSpec, NetnsSpec, RouteSpec};

    use super::*;
    use crate::Sweep;
    use crate::changes;

    fn link(mtu: Option<u32>) -> LinkSpec {
        LinkSpec { mtu, ..LinkSpec::new("psup1", "psw1a1", LinkKind::Tunnel) }
    }

    fn objects(links: Vec<LinkSpec>) -> PlanObjects {
        PlanObjects { links, ..PlanObjects::default() }
    }

    #[test]
    fn what_differs_is_said_field_by_field() {
        let reports = not_as_declared(&objects(vec![link(Some(1_420))]), &objects(vec![link(Some(1_500))]));
        let [report] = &reports[..] else { panic!("one: {reports:?}") };
        assert_eq!(report.object, "link psup1/psw1a1");
        assert_eq!(report.reason, "mtu is 1500 instead of 1420");
    }

    #[test]
    fn what_is_not_declared_about_a_link_may_be_anything() {
        assert_eq!(not_as_declared(&objects(vec![link(None)]), &objects(vec![link(Some(9_000))])), []);
    }

    #[test]
    fn a_missing_object_is_reported_with_the_failure_of_its_creation() {
        let route = RouteSpec::blackhole("psvip", 7_701, "0.0.0.0/0".parse().unwrap(), 10);
        let desired = PlanObjects { routes: vec![route], ..PlanObjects::default() };
        let nothing = PlanObjects::default();
        let failure = Some("the table is full: remove some".to_owned());
        let outcomes = changes(&desired, &nothing, Sweep::Everything)
            .into_iter()
            .map(|change| Outcome { change, failure: failure.clone() })
            .collect();
        let turn = Turn::new(&desired, &nothing, outcomes, Vec::new());
        assert!(!turn.verified());
        let [report] = &turn.not_as_declared[..] else { panic!("one: {turn:?}") };
        assert_eq!(report.object, "route psvip 7701 default metric 10");
        assert_eq!(report.reason, "is missing: the table is full: remove some");
    }

    #[test]
    fn of_several_passes_the_latest_outcome_of_an_object_counts() {
        let left = PlanObjects { netns: vec![NetnsSpec { name: "psup8".into() }], ..PlanObjects::default() };
        let nothing = PlanObjects::default();
        let pass = |failure: Option<&str>| -> Vec<Outcome> {
            let changes = changes(&nothing, &left, Sweep::Everything).into_iter();
            changes.map(|change| Outcome { change, failure: failure.map(str::to_owned) }).collect()
        };
        let mut outcomes = pass(Some("busy"));
        latest(&mut outcomes, &[]);
        assert_eq!(outcomes, pass(Some("busy")));
        latest(&mut outcomes, &pass(None));
        assert_eq!(outcomes, pass(None));
    }

    #[test]
    fn what_could_not_be_deleted_is_reported_too() {
        let left = PlanObjects { netns: vec![NetnsSpec { name: "psup8".into() }], ..PlanObjects::default() };
        let nothing = PlanObjects::default();
        let outcomes = changes(&nothing, &left, Sweep::Everything)
            .into_iter()
            .map(|change| Outcome { change, failure: Some("busy".into()) })
            .collect();
        let turn = Turn::new(&nothing, &left, outcomes, Vec::new());
        let [report] = &turn.not_as_declared[..] else { panic!("one: {turn:?}") };
        assert_eq!((&*report.object, &*report.reason), ("netns psup8", "is not declared, and is still there: busy"));
    }

    #[test]
    fn what_a_deletion_left_although_it_succeeded_is_reported_too() {
        let left = PlanObjects { netns: vec![NetnsSpec { name: "psup8".into() }], ..PlanObjects::default() };
        let nothing = PlanObjects::default();
        let outcomes = || {
            changes(&nothing, &left, Sweep::Everything)
                .into_iter()
                .map(|change| Outcome { change, failure: None })
                .collect()
        };
        assert!(Turn::new(&nothing, &nothing, outcomes(), Vec::new()).verified());
        let turn = Turn::new(&nothing, &left, outcomes(), Vec::new());
        let [report] = &turn.not_as_declared[..] else { panic!("one: {turn:?}") };
        assert_eq!(report.object, "netns psup8");
        assert_eq!(report.reason, "is not declared, and is still there: its deletion changed nothing");
    }
}
