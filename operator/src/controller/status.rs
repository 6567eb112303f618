//! Status: what the operator says about each object, written only when it changed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use pathsteer_crds::meta::{Condition, ConditionStatus, Status};
use pathsteer_crds::plan::PlanRoot;
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decision::{Decision, Reason};
use super::declared::{Declared, Id};
use super::events::{Events, PASSING};
use super::parsed::Parsed;
use super::ready::{Node, Tunnel};
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
#[derive(Debug)]
pub struct Published {
    pub declared: BTreeMap<Id, Declared>,
    pub decision: Decision,
    pub faulty: BTreeMap<String, String>,
    /// Of each node, as its plan declares them.
    pub tunnels: BTreeMap<String, Vec<Tunnel>>,
}

/// Writes status keys.
#[derive(Debug, Default)]
pub struct StatusWriter {
    roots: Parsed<Option<PlanRoot>>,
    reports: Parsed<Option<NodeReport>>,
    stored: Parsed<Stored>,
    events: Events,
}

impl StatusWriter {
    /// The status writes that are due, and what else follows from the clock.
    pub fn due(
        &mut self,
        snapshot: &Snapshot,
        published: &Published,
        connected: impl Fn(&str) -> bool,
        now: OffsetDateTime,
    ) -> Due {
        let mut due = Due::default();
        self.events.read(snapshot);
        let nodes = self.nodes(snapshot, published);
        let nodes: Nodes =
            nodes.iter().map(|(name, facts)| (name.as_str(), facts.node(name, published, &connected))).collect();
        let fleet = Fleet { published, pending: pending(&nodes), nodes, reckoned: RefCell::default() };
        for (id, object) in &published.declared {
            let key = keys::status(id.0, &id.1);
            let entry = snapshot.get(&key);
            let before =
                entry.map(|entry| self.stored.get(&key, entry, |json| serde_json::from_str(json).unwrap_or_default()));
            let before = before.as_deref();
            let mut stored = Stored::default();
            if id.0 == Kind::Override {
                stored.started_at = started_at(before, object.mod_revision, now);
            }
            let end = stored.started_at.as_deref().and_then(|start| end(start, published.decision.chosen.get(id)));
            if let Some(end) = end {
                if end <= now {
                    due.expired.push((id.clone(), object.mod_revision));
                    self.events.gone(id, "Expired", "its time has run out");
                    continue;
                }
                due.next_expiry = Some(due.next_expiry.map_or(end, |next| next.min(end)));
            }
            let admitted = admitted(&published.decision, id, end);
            let ready = ready(&fleet, id, &admitted);
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
        for id in self.events.known() {
            if !published.declared.contains_key(&id) {
                self.events.gone(&id, "Deleted", "it is declared no longer");
            }
        }
        // An event that comes twice is better than one that never comes: before the statuses they speak of.
        due.writes.splice(0..0, self.events.take(snapshot, now));
        self.roots.retain(|key| snapshot.get(key).is_some());
        self.reports.retain(|key| snapshot.get(key).is_some());
        self.stored.retain(|key| snapshot.get(key).is_some());
        due
    }

    /// What was due may not have been written: it will be looked at anew.
    pub fn forget(&mut self) {
        self.events.forget();
    }

    fn nodes(&mut self, snapshot: &Snapshot, published: &Published) -> BTreeMap<String, NodeFacts> {
        let nodes = published.declared.keys().filter(|(kind, _)| matches!(kind, Kind::Site | Kind::Anchor));
        let facts = nodes.map(|(_, node)| {
            let key = keys::report(node);
            let report =
                snapshot.get(&key).map(|entry| self.reports.get(&key, entry, |json| serde_json::from_str(json).ok()));
            let key = keys::plan_root(node);
            let root =
                snapshot.get(&key).map(|entry| self.roots.get(&key, entry, |json| serde_json::from_str(json).ok()));
            (node.clone(), NodeFacts { root, report })
        });
        facts.collect()
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

struct NodeFacts {
    root: Option<Arc<Option<PlanRoot>>>,
    report: Option<Arc<Option<NodeReport>>>,
}

impl NodeFacts {
    fn node<'a>(&'a self, name: &str, published: &'a Published, connected: &impl Fn(&str) -> bool) -> Node<'a> {
        Node {
            published: self.root.as_deref().and_then(Option::as_ref),
            tunnels: published.tunnels.get(name).map_or(&[], Vec::as_slice),
            report: self.report.as_deref().and_then(Option::as_ref),
            connected: connected(name),
            faulty: published.faulty.get(name).map(String::as_str),
        }
    }
}

/// Every Site and Anchor by name.
type Nodes<'a> = BTreeMap<&'a str, Node<'a>>;

/// The nodes that do not carry out their plan, each with the word why. Looked at once: many objects ask.
fn pending<'a>(nodes: &Nodes<'a>) -> BTreeMap<&'a str, Cow<'static, str>> {
    nodes.iter().filter_map(|(name, node)| Some((*name, node.inside_obstacle()?.word))).collect()
}

/// All nodes, when readiness is judged.
struct Fleet<'a> {
    published: &'a Published,
    nodes: Nodes<'a>,
    pending: BTreeMap<&'a str, Cow<'static, str>>,
    /// What is pending among sites that were asked for.
    reckoned: RefCell<BTreeMap<Vec<String>, Option<Reason>>>,
}

impl Fleet<'_> {
    fn node(&self, name: &str) -> Node<'_> {
        let nothing = Node { published: None, tunnels: &[], report: None, connected: false, faulty: None };
        self.nodes.get(name).copied().unwrap_or(nothing)
    }

    /// What keeps an object that holds for `sites` (none named: all) and for every anchor from being carried out. Many
    /// objects hold for the same sites: reckoned once.
    fn pending_among(&self, sites: &[String]) -> Option<Reason> {
        let mut reckoned = self.reckoned.borrow_mut();
        reckoned.entry(sites.to_vec()).or_insert_with(|| self.reckon_pending(sites)).clone()
    }

    fn reckon_pending(&self, sites: &[String]) -> Option<Reason> {
        /// More names than these help nobody.
        const NAMED: usize = 5;
        let is_site = |name: &str| self.published.declared.contains_key(&(Kind::Site, name.to_owned()));
        let concerned = |name: &str| sites.is_empty() || sites.iter().any(|site| site == name) || !is_site(name);
        let mut late: Vec<_> = self.pending.iter().filter(|(name, _)| concerned(name)).collect();
        if late.is_empty() {
            return None;
        }
        let many = late.len() > NAMED;
        if many {
            // Of a fleet that takes a new plan hundreds say within a second that they have it. Who only needs that second
            // is not counted, or every one of them would change what is said of every policy.
            late.retain(|(_, word)| !PASSING.contains(&&***word));
        }
        let named: Vec<_> = late.iter().take(NAMED).map(|(name, word)| format!("{name} ({word})")).collect();
        let more = if late.len() > NAMED { ", …" } else { "" };
        let all = self.nodes.keys().filter(|name| concerned(name)).count();
        let sentence = match (many, late.is_empty()) {
            (true, true) => format!("more than {NAMED} nodes have yet to carry it out"),
            _ => format!("{} of {all} nodes have yet to carry it out: {}{more}", late.len(), named.join(", ")),
        };
        Some(Reason { word: "NodesPending".into(), sentence })
    }
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

fn ready(fleet: &Fleet, id: &Id, admitted: &Said) -> Said {
    let kind = "Ready";
    if !admitted.holds {
        let sentence = "the newest version is not admitted".to_owned();
        return Said { kind, holds: false, reason: Reason { word: "NotAdmitted".into(), sentence } };
    }
    let site = id.1.split('/').next().unwrap_or_default();
    let obstacle = match fleet.published.decision.chosen.get(id) {
        Some(AnyObject::Uplink(uplink)) => fleet.node(site).uplink_obstacle(uplink.spec.slot),
        Some(AnyObject::Vlan(_)) => fleet.node(site).inside_obstacle(),
        Some(AnyObject::Override(will)) => fleet.node(&will.spec.site).inside_obstacle(),
        Some(AnyObject::TrafficPolicy(policy)) => fleet.pending_among(&policy.spec.sites),
        Some(AnyObject::Mode(mode)) => fleet.pending_among(&mode.spec.sites),
        Some(AnyObject::Fabric(_)) => fleet.pending_among(&[]),
        Some(AnyObject::Site(_) | AnyObject::Anchor(_)) | None => fleet.node(site).obstacle(),
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
fn healthy(fleet: &Fleet, id: &Id) -> Option<Said> {
    let site = id.1.split('/').next().unwrap_or_default();
    let node = fleet.node(site);
    node.report?;
    let problem = match (id.0, fleet.published.decision.chosen.get(id)) {
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
