//! A kernel in memory, with the side effects and the refusals of the real one: what is decided is tried on it by the
//! thousand, and simulated nodes carry out their plans in it.

mod links;
mod objects;

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::plan::{LinkKind, PlanObjects, RuleSpec, SysctlSpec};

use crate::ownership::is_link_observed;
use crate::{Action, Change, PlanObject};
use objects::ensure;

/// Why a change was not carried out.
pub type Refusal = String;

/// The kernel of one node.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// What is ours, links that are down among it.
    state: PlanObjects,
    down: BTreeSet<(String, String)>,
    /// Network cards in the node's own namespace.
    pub cards: BTreeSet<String>,
    indexes: BTreeMap<(String, String), u32>,
    last_index: u32,
    /// The interface indexes that nft tables were loaded with, by namespace.
    bound: BTreeMap<String, BTreeSet<u32>>,
}

impl Kernel {
    /// A kernel that holds `objects`, with every interface attribute the kernel would have set by itself, and the rest
    /// of `cards` in the node's own namespace.
    ///
    /// # Panics
    /// When a table of `objects` names a link that they do not have.
    pub fn holding(objects: &PlanObjects, cards: &[&str]) -> Kernel {
        let mut kernel = Kernel { state: objects.clone(), ..Kernel::default() };
        kernel.state.dhcp.clear();
        kernel.state.paths.clear();
        kernel.state.steering.clear();
        for link in kernel.state.links.clone() {
            kernel.born(&link.netns, &link.name);
        }
        for link in &mut kernel.state.links {
            links::complete(link);
        }
        let moved = |card: &&&str| !objects.links.iter().any(|l| l.name == ***card && l.kind == LinkKind::Nic);
        kernel.cards = cards.iter().filter(moved).map(|card| (*card).to_owned()).collect();
        for table in objects.nft_tables.clone() {
            kernel.bind(&table).expect("a table of a sound plan binds links of the plan");
        }
        kernel
    }

    /// All of it, links that are down among it.
    pub fn objects(&self) -> &PlanObjects {
        &self.state
    }

    /// What the drivers report to an agent that wants `desired`.
    pub fn observe(&self, desired: &PlanObjects) -> PlanObjects {
        let mut seen = self.state.clone();
        seen.links.retain(|link| {
            let up = !self.down.contains(&(link.netns.clone(), link.name.clone()));
            is_link_observed(desired, link, up)
        });
        seen.sort();
        seen
    }

    /// Namespaces whose nft table was loaded with an interface that is no more.
    pub fn stale_tables(&self) -> Vec<String> {
        let alive: BTreeSet<u32> = self.indexes.values().copied().collect();
        self.bound.iter().filter(|(_, bound)| !bound.is_subset(&alive)).map(|(netns, _)| netns.clone()).collect()
    }

    /// Carries out `change`.
    ///
    /// # Errors
    /// Whatever it refers to is not there, or something else is in its place.
    pub fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        match (change.action, &change.object) {
            (Action::Delete, object) => self.delete(object),
            (action, object) => {
                let previous = change.previous.as_ref();
                ensure((action == Action::Update) == previous.is_some(), "an update, and only it, has a previous")?;
                self.make(object, previous)
            }
        }
        .map_err(|refusal| format!("{:?} {}: {refusal}", change.action, change.object.name()))
    }

    /// Somebody else deletes `victim`.
    pub fn steal(&mut self, victim: Option<impl Into<PlanObject>>) {
        if let Some(victim) = victim {
            // A refusal only means that this act of vandalism does not come off.
            let _refused = self.delete(&victim.into()).is_err();
        }
    }

    /// Somebody else sets a sysctl.
    pub fn set(&mut self, sysctl: &SysctlSpec, value: &str) {
        self.state.sysctls.iter_mut().filter(|one| *one == sysctl).for_each(|one| value.clone_into(&mut one.value));
    }

    /// Somebody else adds a rule that looks like ours.
    pub fn plant(&mut self, rule: RuleSpec) {
        if !self.state.rules.contains(&rule) {
            self.state.rules.push(rule);
        }
    }
}
