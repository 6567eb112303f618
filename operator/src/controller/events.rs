//! Events: what has changed about objects, kept beside their status for whoever asks later. A status only says how things
//! are.

use std::collections::BTreeMap;

use pathsteer_crds::api::Event;
use pathsteer_crds::meta::{Condition, Status};
use pathsteer_crds::{canonical, keys};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::declared::Id;
use crate::store::{Snapshot, Write};

/// So many of the newest are kept: a few MB of store, weeks of a fleet that is well.
const KEPT: usize = 5_000;
/// Every change of a plan makes these true for a moment. What passes like this is no news.
pub const PASSING: [&str; 2] = ["PlanPending", "NotVerified"];
/// In keys: of the same length always, so that their order is that of time.
const STAMP: &[BorrowedFormatItem] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What the store has been told.
#[derive(Debug, Default)]
pub struct Events {
    /// Of each condition of each object, status and reason when an event last spoke of it. None: not read yet.
    told: Option<BTreeMap<Id, BTreeMap<String, Told>>>,
    due: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    status: String,
    reason: String,
}

impl Events {
    /// Reads what earlier events have told, unless it is known. The objects they spoke of, if it was read now.
    pub fn read(&mut self, snapshot: &Snapshot) -> Vec<Id> {
        if self.told.is_some() {
            return Vec::new();
        }
        let mut told: BTreeMap<Id, BTreeMap<String, Told>> = BTreeMap::new();
        for (_, entry) in snapshot.below(&keys::event("")) {
            let Ok(event) = serde_json::from_str::<Event>(&entry.value) else { continue };
            let Event { kind, name, what, to, reason, .. } = event;
            if what == DECLARED {
                told.remove(&(kind, name));
            } else {
                told.entry((kind, name)).or_default().insert(what, Told { status: to, reason });
            }
        }
        let spoken_of = told.keys().cloned().collect();
        (self.told, self.due) = (Some(told), Vec::new());
        spoken_of
    }

    /// Notes what is new about an object whose status was `before` and is `after`.
    pub fn note(&mut self, id: &Id, before: Option<&Status>, after: &Status) {
        let told = self.told.get_or_insert_default();
        for condition in &after.conditions {
            if PASSING.contains(&&*condition.reason) {
                continue;
            }
            let of_object = told.entry(id.clone()).or_default();
            let earlier = before.and_then(|status| status.condition(&condition.kind));
            let earlier = earlier.filter(|earlier| !PASSING.contains(&&*earlier.reason)).map(Told::of);
            let known = of_object.get(&condition.kind).cloned().or(earlier);
            let now = Told::of(condition);
            if known.as_ref() != Some(&now) {
                self.due.push(Event {
                    time: condition.last_transition_time.clone(),
                    kind: id.0,
                    name: id.1.clone(),
                    what: condition.kind.clone(),
                    from: known.map(|known| known.status),
                    to: now.status.clone(),
                    reason: now.reason.clone(),
                    message: condition.message.clone(),
                });
            }
            of_object.insert(condition.kind.clone(), now);
        }
    }

    /// Notes that an object is declared no longer, once.
    pub fn gone(&mut self, id: &Id, reason: &str, message: &str) {
        if self.told.get_or_insert_default().remove(id).is_some() {
            self.due.push(Event {
                time: String::new(),
                kind: id.0,
                name: id.1.clone(),
                what: DECLARED.to_owned(),
                from: Some("True".to_owned()),
                to: "False".to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
            });
        }
    }

    /// What was noted, as writes, and what is too old to be kept.
    pub fn take(&mut self, snapshot: &Snapshot, now: OffsetDateTime) -> Vec<Write> {
        if self.due.is_empty() {
            return Vec::new();
        }
        let stamp = now.format(STAMP).unwrap_or_default();
        let whole = now.replace_nanosecond(0).unwrap_or(now);
        let time = whole.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let due = std::mem::take(&mut self.due);
        let mut writes: Vec<_> = due
            .into_iter()
            .enumerate()
            .map(|(number, event)| {
                let event = Event { time: time.clone(), ..event };
                Write::put(keys::event(&format!("{stamp}-{number:05}")), canonical::to_json(&event))
            })
            .collect();
        let folder = keys::event("");
        let all = snapshot.below(&folder).count() + writes.len();
        writes.extend(snapshot.below(&folder).take(all.saturating_sub(KEPT)).map(|(key, _)| Write::delete(key)));
        writes
    }
}

/// What an event speaks of that is about no condition: whether there is such an object.
const DECLARED: &str = "Declared";

impl Told {
    fn of(condition: &Condition) -> Told {
        Told { status: format!("{:?}", condition.status), reason: condition.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::Kind;
    use pathsteer_crds::meta::ConditionStatus;

    use super::*;
    use crate::store::Entry;

    fn status(holds: bool, reason: &str) -> Status {
        let condition = Condition {
            kind: "Ready".into(),
            status: if holds { ConditionStatus::True } else { ConditionStatus::False },
            reason: reason.into(),
            message: format!("{reason}."),
            last_transition_time: "2026-11-30T00:00:00Z".into(),
        };
        Status { observed_generation: 1, conditions: vec![condition] }
    }

    fn site() -> Id {
        (Kind::Site, "rv-07".into())
    }

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second)
    }

    /// What is written, applied to a store.
    fn take(events: &mut Events, store: &mut BTreeMap<String, Entry>, second: i64) -> Vec<String> {
        let snapshot = Snapshot::listed(1, store.clone().into());
        let mut said = Vec::new();
        for write in events.take(&snapshot, at(second)) {
            let Some(value) = write.value else {
                store.remove(&write.key);
                continue;
            };
            let event: Event = serde_json::from_str(&value).unwrap();
            said.push(format!("{} {}→{} {}", event.what, event.from.as_deref().unwrap_or("-"), event.to, event.reason));
            store.insert(write.key, Entry { value: value.into(), mod_revision: 1 });
        }
        said
    }

    #[test]
    fn each_change_is_told_once_and_what_only_passes_is_not() {
        let (mut events, mut store) = (Events::default(), BTreeMap::new());
        events.read(&Snapshot::listed(1, store.clone().into()));
        let steps = [
            (status(false, "PlanPending"), vec![]),
            (status(true, "CarriedOut"), vec!["Ready -→True CarriedOut"]),
            (status(true, "CarriedOut"), vec![]),
            (status(false, "PlanPending"), vec![]),
            (status(true, "CarriedOut"), vec![]),
            (status(false, "TunnelDown"), vec!["Ready True→False TunnelDown"]),
            (status(false, "NotConnected"), vec!["Ready False→False NotConnected"]),
        ];
        let mut before = None;
        for (second, (after, said)) in steps.into_iter().enumerate() {
            events.note(&site(), before.as_ref(), &after);
            assert_eq!(take(&mut events, &mut store, second as i64), said);
            before = Some(after);
        }
    }

    #[test]
    fn a_restarted_operator_tells_nothing_twice_and_misses_nothing() {
        let (mut events, mut store) = (Events::default(), BTreeMap::new());
        events.note(&site(), None, &status(true, "CarriedOut"));
        take(&mut events, &mut store, 1);
        events.note(&site(), Some(&status(true, "CarriedOut")), &status(false, "PlanPending"));
        take(&mut events, &mut store, 2);

        let mut restarted = Events::default();
        restarted.read(&Snapshot::listed(1, store.clone().into()));
        restarted.note(&site(), Some(&status(false, "PlanPending")), &status(true, "CarriedOut"));
        assert!(take(&mut restarted, &mut store, 3).is_empty());
        restarted.note(&site(), Some(&status(true, "CarriedOut")), &status(false, "TunnelDown"));
        assert_eq!(take(&mut restarted, &mut store, 4), ["Ready True→False TunnelDown"]);
        restarted.gone(&site(), "Deleted", "it was deleted");
        restarted.gone(&site(), "Deleted", "it was deleted");
        assert_eq!(take(&mut restarted, &mut store, 5), ["Declared True→False Deleted"]);

        let mut again = Events::default();
        assert!(again.read(&Snapshot::listed(1, store.clone().into())).is_empty(), "its end was told");
    }

    #[test]
    fn only_the_newest_are_kept() {
        let (mut events, mut store) = (Events::default(), BTreeMap::new());
        for n in 0..KEPT as i64 + 50 {
            events.note(&site(), None, &status(n % 2 == 0, "Flapping"));
            take(&mut events, &mut store, n);
        }
        assert_eq!(store.len(), KEPT);
        assert!(store.keys().next().unwrap().contains("1970-01-01T00:00:50.000000Z"), "{:?}", store.keys().next());
    }
}
