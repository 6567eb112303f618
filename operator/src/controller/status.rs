//! Status: what the operator says about each object, written only when it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_crds::meta::{Condition, ConditionStatus, Status};
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::affected::Seen;
use super::decision::{Decision, Reason};
use super::declared::{Declarations, Id};
use super::events::Events;
use super::fleet::{Facts, Fleet, holds_for};
use super::publish::CutPlans;
use crate::store::{Snapshot, Write};

/// What stands in a status key: the status, and what the operator must remember about the object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    #[serde(flatten)]
    pub status: Status,
    /// When this generation of an Override was first seen, RFC 3339: its duration counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

/// A finished turn of compiling and publishing: what status speaks of.
#[derive(Debug, Default)]
pub struct Published {
    pub declared: Declarations,
    pub decision: Decision,
    pub faulty: BTreeMap<String, String>,
    pub plans: CutPlans,
}

/// Writes status keys.
#[derive(Debug, Default)]
pub struct StatusWriter {
    seen: Seen,
    facts: Facts,
    /// By the sites that an object holds for, what is pending among these.
    pending: BTreeMap<Vec<String>, Option<Reason>>,
    events: Events,
}

impl StatusWriter {
    /// The status writes that are due, and what else follows from the clock. Only of objects about which something is
    /// different than the last time, unless what was due then was [forgotten](StatusWriter::forget).
    pub fn due(
        &mut self,
        snapshot: &Snapshot,
        published: &Arc<Published>,
        connected: &BTreeSet<String>,
        now: OffsetDateTime,
    ) -> Due {
        let mut due = Due::default();
        let mut affected = self.seen.advance(snapshot, published, connected);
        affected.ids.extend(self.events.read(snapshot));
        self.facts.look(affected.nodes.iter(), snapshot, published, connected, now);
        for node in self.facts.overdue(now) {
            affected.node(node, published);
        }
        due.wake = self.facts.next_overdue();
        let mut ids = affected.ids;
        let fleet = Fleet { facts: &self.facts, published, connected };
        let pending = std::mem::take(&mut self.pending);
        for (id, object) in &published.decision.chosen {
            // The clock is about Overrides, and so is any node.
            if id.0 == Kind::Override {
                ids.insert(id.clone());
            }
            let Some(sites) = holds_for(object) else { continue };
            let now = match self.pending.get(sites) {
                Some(known) => known,
                None => self.pending.entry(sites.to_vec()).or_insert_with(|| fleet.pending_among(sites)),
            };
            if pending.get(sites) != Some(now) {
                ids.insert(id.clone());
            }
        }
        for id in &ids {
            let Some(object) = published.declared.get(id) else {
                self.events.gone(id, "Deleted", "it is declared no longer");
                continue;
            };
            let key = keys::status(id.0, &id.1);
            let entry = snapshot.get(&key);
            let before: Option<Stored> = entry.map(|entry| serde_json::from_str(&entry.value).unwrap_or_default());
            let before = before.as_ref();
            let mut stored = Stored::default();
            if id.0 == Kind::Override {
                stored.started_at = started_at(before, object.mod_revision, now);
            }
            let chosen = published.decision.chosen.get(id).map(|object| &**object);
            let end = stored.started_at.as_deref().and_then(|start| end(start, chosen));
            if let Some(end) = end {
                if end <= now {
                    due.expired.push((id.clone(), object.mod_revision));
                    self.events.gone(id, "Expired", "its time has run out");
                    continue;
                }
                due.wake = Some(due.wake.map_or(end, |next| next.min(end)));
            }
            let previous = before.map(|stored| &stored.status);
            let admitted = admitted(&published.decision, id, end);
            let mut ready = ready(&fleet, &self.pending, id, &admitted);
            if is_passing(&fleet, id, chosen) {
                let unchanged = previous.filter(|status| status.observed_generation == object.mod_revision);
                let told = unchanged.and_then(|status| status.condition(ready.kind));
                ready = told.and_then(Said::carried_out).unwrap_or(ready);
            }
            let healthy = healthy(&fleet, id);
            let said = [admitted, ready].into_iter().chain(healthy);
            stored.status = Status {
                observed_generation: object.mod_revision,
                conditions: said.map(|said| said.condition(previous, now)).collect(),
            };
            if before != Some(&stored) {
                self.events.note(id, previous, &stored.status);
                let revision = entry.map_or(0, |entry| entry.mod_revision);
                due.writes.push(Write::put(key, canonical::to_json(&stored)).if_at(revision));
            }
        }
        // An event that comes twice is better than one that never comes: before the statuses they speak of.
        due.writes.splice(0..0, self.events.take(snapshot, now));
        due
    }

    /// What was due may not have been written: everything will be looked at anew.
    pub fn forget(&mut self) {
        *self = StatusWriter::default();
    }
}

/// What is to be done about statuses.
#[derive(Debug, Default, PartialEq)]
pub struct Due {
    pub writes: Vec<Write>,
    /// Overrides whose time has run out, and the generation that did.
    pub expired: Vec<(Id, i64)>,
    /// When to look again though nothing has changed.
    pub wake: Option<OffsetDateTime>,
}

/// A condition without its time.
struct Said {
    kind: &'static str,
    holds: bool,
    reason: Reason,
}

impl Said {
    /// What `condition` says, if that is that something is carried out.
    fn carried_out(condition: &Condition) -> Option<Said> {
        let reason = Reason { word: condition.reason.clone().into(), sentence: condition.message.clone() };
        (condition.status == ConditionStatus::True).then_some(Said { kind: "Ready", holds: true, reason })
    }

    fn condition(self, previous: Option<&Status>, now: OffsetDateTime) -> Condition {
        let status = if self.holds { ConditionStatus::True } else { ConditionStatus::False };
        let last_transition_time = match previous.and_then(|status| status.condition(self.kind)) {
            Some(before) if before.status == status => before.last_transition_time.clone(),
            _ => rfc3339(now),
        };
        let Reason { word, sentence } = self.reason;
        Condition {
            kind: self.kind.to_owned(),
            status,
            reason: word.into_owned(),
            message: sentence,
            last_transition_time,
        }
    }
}

fn admitted(decision: &Decision, id: &Id, end: Option<OffsetDateTime>) -> Said {
    let kind = "Admitted";
    if let Some(reason) = decision.refused.get(id) {
        let mut reason = reason.clone();
        if decision.chosen.contains_key(id) {
            reason.sentence.push_str(" (the last good version stays in force)");
        }
        return Said { kind, holds: false, reason };
    }
    let mut sentence = match end {
        Some(end) => format!("valid and compiled, in force until {}", rfc3339(end)),
        None => "valid and compiled".to_owned(),
    };
    for warning in decision.warned.get(id).into_iter().flatten() {
        sentence.push_str(&format!("; {}: {}", warning.word, warning.sentence));
    }
    Said { kind, holds: true, reason: Reason { word: "Admitted".into(), sentence } }
}

fn ready(fleet: &Fleet<'_>, pending: &BTreeMap<Vec<String>, Option<Reason>>, id: &Id, admitted: &Said) -> Said {
    let kind = "Ready";
    if !admitted.holds {
        let sentence = "the newest version is not admitted".to_owned();
        return Said { kind, holds: false, reason: Reason { word: "NotAdmitted".into(), sentence } };
    }
    let site = site_of(id);
    let obstacle = match fleet.published.decision.chosen.get(id).map(|object| &**object) {
        Some(AnyObject::Uplink(uplink)) => fleet.node(site).uplink_obstacle(uplink.spec.slot),
        Some(AnyObject::Vlan(_)) => fleet.node(site).inside_obstacle(),
        Some(AnyObject::Override(will)) => fleet.node(&will.spec.site).inside_obstacle(),
        Some(AnyObject::Site(_) | AnyObject::Anchor(_)) | None => fleet.node(site).obstacle(),
        Some(many) => holds_for(many).and_then(|sites| pending.get(sites)?.clone()),
    };
    let carried_out = || Reason {
        word: "CarriedOut".into(),
        sentence: match id.0 {
            Kind::Site | Kind::Anchor | Kind::Uplink => "carried out and verified, every tunnel is up".to_owned(),
            _ => "carried out and verified".to_owned(),
        },
    };
    Said { kind, holds: obstacle.is_none(), reason: obstacle.unwrap_or_else(carried_out) }
}

/// Whether the object belongs to a node that is about to carry out its plan. Every change of a plan is carried out within
/// moments. Of what has not changed itself stays said meanwhile that it is carried out, or each change would turn the
/// statuses of everything that belongs to a node twice; of the node itself it is said at once that something is pending.
fn is_passing(fleet: &Fleet<'_>, id: &Id, chosen: Option<&AnyObject>) -> bool {
    match chosen {
        Some(AnyObject::Uplink(_) | AnyObject::Vlan(_)) => fleet.facts.is_passing(site_of(id)),
        Some(AnyObject::Override(will)) => fleet.facts.is_passing(&will.spec.site),
        _ => false,
    }
}

fn site_of(id: &Id) -> &str {
    id.1.split('/').next().unwrap_or_default()
}

/// What a node says is wrong with itself or with one of its uplinks, though it may carry everything out. Nobody knows
/// while its agent is not connected: then what it said last stays said.
fn healthy(fleet: &Fleet<'_>, id: &Id) -> Option<Said> {
    let site = site_of(id);
    let node = fleet.node(site);
    node.report?;
    let problem = match (id.0, fleet.published.decision.chosen.get(id).map(|object| &**object)) {
        (Kind::Site | Kind::Anchor, _) => node.problem(None),
        (_, Some(AnyObject::Uplink(uplink))) => node.problem(Some(uplink.spec.slot)),
        _ => return None,
    };
    let none = || Reason { word: "NoProblems".into(), sentence: "the node tells of no problems".to_owned() };
    Some(Said { kind: "Healthy", holds: problem.is_none(), reason: problem.unwrap_or_else(none) })
}

/// A new generation starts now; one seen before started when it was first seen.
fn started_at(before: Option<&Stored>, generation: i64, now: OffsetDateTime) -> Option<String> {
    let same = before.filter(|stored| stored.status.observed_generation == generation);
    Some(same.and_then(|stored| stored.started_at.clone()).unwrap_or_else(|| rfc3339(now)))
}

fn end(started_at: &str, object: Option<&AnyObject>) -> Option<OffsetDateTime> {
    let Some(AnyObject::Override(object)) = object else { return None };
    let started = OffsetDateTime::parse(started_at, &Rfc3339).ok()?;
    Some(started + time::Duration::seconds(object.spec.duration_seconds?.into()))
}

/// RFC 3339 in UTC, whole seconds.
fn rfc3339(at: OffsetDateTime) -> String {
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pathsteer_compiler::Allocations;
    use pathsteer_crds::plan::{PLAN_VERSION, PlanRoot, Role};
    use pathsteer_crds::report::NodeReport;

    use super::*;
    use crate::controller::decision::Decider;
    use crate::controller::declared::Reader;
    use crate::controller::memory::Identities;
    use crate::store::Entry;

    /// A store, what is published from it, and who looks after its statuses. Its node is always connected.
    struct World {
        snapshot: Snapshot,
        published: Arc<Published>,
        writer: StatusWriter,
    }

    impl World {
        fn new() -> World {
            let object = |kind: Kind, metadata: &str, spec: &str| {
                format!(
                    r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"{kind}","metadata":{metadata},"spec":{spec}}}"#
                )
            };
            let anchor = r#"{"endpoints":[{"address":"203.0.113.10"}],
                "internet":{"interface":"inet0","addresses":["198.51.100.1/24"]}}"#;
            let site = r#"{"anchors":["dal-a"],"prefixes":["172.16.7.0/24"]}"#;
            let segment = r#"{"interface":"lan0","addresses":["172.16.7.1/24"]}"#;
            let mut world =
                World { snapshot: Snapshot::default(), published: Arc::default(), writer: StatusWriter::default() };
            let named = |name: &str| format!(r#"{{"name":"{name}"}}"#);
            for (kind, key, metadata, spec) in [
                (Kind::Fabric, "default", named("default"), r#"{"overlay":"10.100.0.0/16"}"#),
                (Kind::Anchor, "dal-a", named("dal-a"), anchor),
                (Kind::Site, "rv-07", named("rv-07"), site),
                (Kind::Vlan, "rv-07/crew", r#"{"site":"rv-07","name":"crew"}"#.to_owned(), segment),
            ] {
                world.put(keys::spec(kind, key), object(kind, &metadata, spec));
            }
            let declared = Reader::default().read(&world.snapshot);
            let decision = Decider::default().decide(&declared, &Identities::new(), &Allocations::default());
            world.published = Arc::new(Published { declared, decision, ..Published::default() });
            world
        }

        fn put(&mut self, key: String, value: String) {
            self.snapshot.revision += 1;
            let entry = Entry { value: value.into(), mod_revision: self.snapshot.revision };
            self.snapshot.entries.insert(key, entry);
        }

        /// A plan of this generation is published.
        fn publish(&mut self, generation: i64) {
            let root = PlanRoot {
                version: PLAN_VERSION,
                node: "rv-07".into(),
                role: Role::Edge,
                store_epoch: 1,
                generation,
                fragments: BTreeMap::new(),
            };
            self.put(keys::plan_root("rv-07"), canonical::to_json(&root));
        }

        /// The node has carried out the plan of this generation.
        fn report(&mut self, generation: i64) {
            let report = NodeReport { store_epoch: 1, generation, verified: true, ..NodeReport::default() };
            self.put(keys::report("rv-07"), canonical::to_json(&report));
        }

        /// Writes what is due in this second: which statuses of the site and its segment, with the reason of their
        /// readiness. And in which second to look again.
        fn turn(&mut self, second: i64) -> (Vec<String>, Option<i64>) {
            let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second);
            let connected = BTreeSet::from(["rv-07".to_owned()]);
            let due = self.writer.due(&self.snapshot, &self.published, &connected, now);
            let mut said = Vec::new();
            for write in due.writes {
                let value = write.value.unwrap();
                if let Some((Kind::Site | Kind::Vlan, name)) = keys::parse(&write.key, "status") {
                    let stored: Stored = serde_json::from_str(&value).unwrap();
                    said.push(format!("{name} {}", stored.status.condition("Ready").unwrap().reason));
                }
                self.put(write.key, value);
            }
            (said, due.wake.map(|wake| wake.unix_timestamp()))
        }
    }

    fn said(statuses: &[&str]) -> Vec<String> {
        statuses.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn a_change_that_is_carried_out_within_moments_is_news_of_the_node_alone() {
        let mut world = World::new();
        assert_eq!(world.turn(0).0, said(&["rv-07 PlanPending", "rv-07/crew PlanPending"]));
        world.publish(1);
        world.report(1);
        // its anchor has no plan yet
        assert_eq!(world.turn(1), (said(&["rv-07 CarriedOut", "rv-07/crew CarriedOut"]), Some(5)));
        assert_eq!(world.turn(6), (said(&[]), None));
        world.publish(2);
        assert_eq!(world.turn(10), (said(&["rv-07 PlanPending"]), Some(15)));
        world.report(2);
        assert_eq!(world.turn(14), (said(&["rv-07 CarriedOut"]), None));
    }

    #[test]
    fn a_change_that_is_not_carried_out_is_news_of_everything_there() {
        let mut world = World::new();
        world.publish(1);
        world.report(1);
        world.turn(1);
        world.publish(2);
        assert_eq!(world.turn(10), (said(&["rv-07 PlanPending"]), Some(15)));
        world.publish(3);
        assert_eq!(world.turn(14).1, Some(15), "another change is no reason to wait any longer");
        assert_eq!(world.turn(14), (said(&[]), Some(15)));
        assert_eq!(world.turn(15), (said(&["rv-07/crew PlanPending"]), None));
        assert_eq!(world.turn(16), (said(&[]), None));
        world.report(3);
        assert_eq!(world.turn(17), (said(&["rv-07 CarriedOut", "rv-07/crew CarriedOut"]), None));
    }
}
