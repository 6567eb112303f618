//! Status: what the operator says about each object, written only when it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_crds::meta::{Condition, ConditionStatus, Status};
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::affected::{Affected, Seen};
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
        let Affected { nodes, mut ids } = self.seen.advance(snapshot, published, connected);
        ids.extend(self.events.read(snapshot));
        self.facts.look(nodes.iter(), snapshot, published, connected);
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
                due.next_expiry = Some(due.next_expiry.map_or(end, |next| next.min(end)));
            }
            let admitted = admitted(&published.decision, id, end);
            let ready = ready(&fleet, &self.pending, id, &admitted);
            let healthy = healthy(&fleet, id);
            let previous = before.map(|stored| &stored.status);
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
    /// When the next one does.
    pub next_expiry: Option<OffsetDateTime>,
}

/// A condition without its time.
struct Said {
    kind: &'static str,
    holds: bool,
    reason: Reason,
}

impl Said {
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
    let site = id.1.split('/').next().unwrap_or_default();
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

/// What a node says is wrong with itself or with one of its uplinks, though it may carry everything out. Nobody knows
/// while its agent is not connected: then what it said last stays said.
fn healthy(fleet: &Fleet<'_>, id: &Id) -> Option<Said> {
    let site = id.1.split('/').next().unwrap_or_default();
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
