//! What may have become different since statuses were last looked at. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_crds::{Kind, keys};

use super::declared::Id;
use super::status::Published;
use crate::store::{Entries, Snapshot, changed};

/// What was there when statuses were last looked at; by default nothing.
#[derive(Debug, Default)]
pub struct Seen {
    entries: Entries,
    published: Option<Arc<Published>>,
    connected: BTreeSet<String>,
}

/// The nodes and the objects about which something is different, existing or gone.
#[derive(Debug, Default)]
pub struct Affected {
    pub nodes: BTreeSet<String>,
    pub ids: BTreeSet<Id>,
}

impl Seen {
    /// What is different now; from then on now is what was seen.
    pub fn advance(
        &mut self,
        snapshot: &Snapshot,
        published: &Arc<Published>,
        connected: &BTreeSet<String>,
    ) -> Affected {
        let mut affected = Affected::default();
        let folder = format!("{}nodes/", keys::ROOT);
        for key in changed(&self.entries, &snapshot.entries) {
            let of_node = key.strip_prefix(&folder).and_then(|below| below.split_once('/'));
            if let Some((node, "plan/root" | "report/status")) = of_node {
                affected.nodes.insert(node.to_owned());
            } else if let Some((kind, name)) = keys::parse(key, "status") {
                affected.ids.insert((kind, name.to_owned()));
            }
        }
        affected.nodes.extend(self.connected.symmetric_difference(connected).cloned());
        match &self.published {
            Some(before) if Arc::ptr_eq(before, published) => {}
            before => affected.published(before.as_deref(), published),
        }
        affected.nodes_and_theirs(published);
        *self = Seen {
            entries: snapshot.entries.clone(),
            published: Some(Arc::clone(published)),
            connected: connected.clone(),
        };
        affected
    }
}

impl Affected {
    fn published(&mut self, before: Option<&Published>, after: &Published) {
        let nothing = Published::default();
        let before = before.unwrap_or(&nothing);
        self.ids.extend(changed(&before.declared, &after.declared).cloned());
        self.ids.extend(changed(&before.decision.chosen, &after.decision.chosen).cloned());
        self.ids.extend(different(&before.decision.refused, &after.decision.refused, PartialEq::eq));
        self.ids.extend(different(&before.decision.warned, &after.decision.warned, PartialEq::eq));
        self.nodes.extend(different(&before.faulty, &after.faulty, PartialEq::eq));
        self.nodes.extend(different(&before.plans, &after.plans, Arc::ptr_eq));
    }

    /// A Site or Anchor that came or went is a node that did, and what a node says is about everything of its site.
    fn nodes_and_theirs(&mut self, published: &Published) {
        let nodes = self.ids.iter().filter(|(kind, _)| matches!(kind, Kind::Site | Kind::Anchor));
        self.nodes.extend(nodes.map(|(_, name)| name.clone()));
        for node in std::mem::take(&mut self.nodes) {
            self.node(node, published);
        }
    }

    /// Something is different about `node`, and so about what belongs to it.
    pub fn node(&mut self, node: String, published: &Published) {
        self.ids.extend([Kind::Site, Kind::Anchor].map(|kind| (kind, node.clone())));
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_sited()) {
            let prefix = format!("{node}/");
            let theirs = published.declared.range((kind, prefix.clone())..);
            let theirs = theirs.take_while(|((of, key), _)| *of == kind && key.starts_with(&prefix));
            self.ids.extend(theirs.map(|(id, _)| id.clone()));
        }
        self.nodes.insert(node);
    }
}

/// The keys at which the two maps do not have the same.
fn different<'a, K: Ord + Clone, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> impl Iterator<Item = K> {
    let is_same = move |key: &K| match (before.get(key), after.get(key)) {
        (Some(one), Some(other)) => same(one, other),
        _ => false,
    };
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(move |key| !is_same(key)).cloned()
}
