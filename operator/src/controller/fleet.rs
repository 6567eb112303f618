//! The fleet: what every node has said and been given, when readiness is judged.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::plan::PlanRoot;
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::{AnyObject, Kind, keys};
use time::{Duration, OffsetDateTime};

use super::decision::{Decision, Reason};
use super::events::PASSING;
use super::ready::Node;
use super::status::Published;
use crate::store::Snapshot;

/// What is known of every Site and Anchor, by name.
#[derive(Debug, Default)]
pub struct Facts {
    nodes: BTreeMap<String, NodeFacts>,
    /// The nodes that do not carry out their plan. Many objects ask.
    pending: BTreeMap<String, Pending>,
}

/// A node that does not carry out its plan.
#[derive(Debug)]
struct Pending {
    word: Cow<'static, str>,
    since: OffsetDateTime,
    /// It is expected to, any moment.
    passing: bool,
}

/// How long a node may take for a change of its plan until everything that belongs to it is said to be pending. Hundreds of
/// nodes need a second for a plan that changes for all of them.
const PATIENCE: Duration = Duration::seconds(5);

#[derive(Debug)]
struct NodeFacts {
    root: Option<PlanRoot>,
    report: Option<NodeReport>,
}

impl Facts {
    /// Looks at `nodes` anew.
    pub fn look<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a String>,
        snapshot: &Snapshot,
        published: &Published,
        connected: &BTreeSet<String>,
        now: OffsetDateTime,
    ) {
        for node in nodes {
            let since = self.pending.remove(node).map_or(now, |pending| pending.since);
            if !Decision::is_node(&published.declared, node) {
                self.nodes.remove(node);
                continue;
            }
            let value = |key: String| Some(&*snapshot.get(&key)?.value);
            let root = value(keys::plan_root(node)).and_then(|json| serde_json::from_str(json).ok());
            let report = value(keys::report(node)).and_then(|json| serde_json::from_str(json).ok());
            self.nodes.insert(node.clone(), NodeFacts { root, report });
            let obstacle = Fleet { facts: self, published, connected }.node(node).inside_obstacle();
            let Some(Reason { word, .. }) = obstacle else { continue };
            let passing = PASSING.contains(&&*word) && now < since + PATIENCE;
            self.pending.insert(node.clone(), Pending { word, since, passing });
        }
    }

    /// The nodes that were expected to carry out their plan any moment, and have not.
    pub fn overdue(&mut self, now: OffsetDateTime) -> Vec<String> {
        let late = |pending: &Pending| pending.passing && pending.since + PATIENCE <= now;
        let overdue = self.pending.iter_mut().filter(|(_, pending)| late(pending));
        overdue
            .map(|(node, pending)| {
                pending.passing = false;
                node.clone()
            })
            .collect()
    }

    /// When the next node will be overdue.
    pub fn next_overdue(&self) -> Option<OffsetDateTime> {
        self.pending.values().filter(|pending| pending.passing).map(|pending| pending.since + PATIENCE).min()
    }

    /// Whether `node` is expected to carry out its plan any moment.
    pub fn is_passing(&self, node: &str) -> bool {
        self.pending.get(node).is_some_and(|pending| pending.passing)
    }
}

/// All nodes.
#[derive(Clone, Copy)]
pub struct Fleet<'a> {
    pub facts: &'a Facts,
    pub published: &'a Published,
    pub connected: &'a BTreeSet<String>,
}

impl<'a> Fleet<'a> {
    /// The Site or Anchor `name`, of which nothing may be known.
    pub fn node(&self, name: &str) -> Node<'a> {
        let facts = self.facts.nodes.get(name);
        Node {
            published: facts.and_then(|facts| facts.root.as_ref()),
            tunnels: self.published.plans.get(name).map_or(&[], |plan| plan.tunnels.as_slice()),
            report: facts.and_then(|facts| facts.report.as_ref()),
            connected: self.connected.contains(name),
            faulty: self.published.faulty.get(name).map(String::as_str),
        }
    }

    /// What keeps an object that holds for `sites` (none named: all) and for every anchor from being carried out.
    pub fn pending_among(&self, sites: &[String]) -> Option<Reason> {
        /// More names than these help nobody.
        const NAMED: usize = 5;
        let Facts { nodes, pending } = self.facts;
        let is_site = |name: &str| self.published.declared.contains_key(&(Kind::Site, name.to_owned()));
        let concerned = |name: &str| sites.is_empty() || sites.iter().any(|site| site == name) || !is_site(name);
        let mut late: Vec<_> = pending.iter().filter(|(name, _)| concerned(name)).collect();
        if late.is_empty() {
            return None;
        }
        let many = late.len() > NAMED;
        if many {
            // Of a fleet that takes a new plan hundreds say within a second that they have it. Who only needs that second
            // is not counted, or every one of them would change what is said of every policy.
            late.retain(|(_, pending)| !PASSING.contains(&&*pending.word));
        }
        let named: Vec<_> =
            late.iter().take(NAMED).map(|(name, pending)| format!("{name} ({})", pending.word)).collect();
        let more = if late.len() > NAMED { ", …" } else { "" };
        let all = nodes.keys().filter(|name| concerned(name)).count();
        let sentence = match (many, late.is_empty()) {
            (true, true) => format!("more than {NAMED} nodes have yet to carry it out"),
            _ => format!("{} of {all} nodes have yet to carry it out: {}{more}", late.len(), named.join(", ")),
        };
        Some(Reason { word: "NodesPending".into(), sentence })
    }
}

/// The sites that an object holds for which is carried out by many nodes; None if it is about one.
pub fn holds_for(object: &AnyObject) -> Option<&[String]> {
    match object {
        AnyObject::TrafficPolicy(policy) => Some(&policy.spec.sites),
        AnyObject::Mode(mode) => Some(&mode.spec.sites),
        AnyObject::Fabric(_) => Some(&[]),
        AnyObject::Anchor(_)
        | AnyObject::Site(_)
        | AnyObject::Uplink(_)
        | AnyObject::Vlan(_)
        | AnyObject::Override(_) => None,
    }
}
