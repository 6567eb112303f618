//! From desired and observed to the changes between them.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects};

use crate::apply_order::ORDER;
use crate::noun::{Noun, by_key, same};
use crate::{PlanObject, consequences, link, not_as_declared};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is not there as far as was observed. Creating what turns out to be there sets it right instead of failing: a
    /// link that is down is observed as absent, and an nft table bound to a vanished link is loaded again.
    ///
    /// A veth is created with both its ends, both up. A network card is moved in from the node's own namespace.
    Create,
    /// It is there and differs; `previous` says how it was found.
    Update,
    /// It is there and is not declared. What is already gone is a success. A veth goes with both its ends, a network
    /// card back to the node's own namespace, a WireGuard device with its peers, the datapath with its programs,
    /// remotes and prefixes.
    Delete,
}

/// What a change does to flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeClass {
    /// Nothing: it is new, or nothing declared uses it.
    None,
    /// Replaced in one step under the flows that use it.
    InPlace,
    /// The new one is added before the old one is deleted.
    MakeBeforeBreak,
    /// Flows over it are interrupted until it is made again, or lose their anchor and with it who knows them.
    Disruptive,
}

/// One step from observed to desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub action: Action,
    /// As it shall be; for a deletion, as it was found.
    pub object: PlanObject,
    /// For an update: as it was found. Always of the same noun as `object`.
    pub previous: Option<PlanObject>,
    pub class: ChangeClass,
}

/// What may be deleted.
#[derive(Debug, Clone, Copy)]
pub enum Sweep<'a> {
    /// Whatever is ours and not declared: the plan is complete.
    Everything,
    /// Of these objects, by their [`names`], what is no longer declared; and nothing that stands in the way.
    Only(&'a BTreeSet<String>),
}

/// The changes that turn `observed` into `desired`, in the order in which they have to be applied.
///
/// `observed` holds what is ours in the kernel and, to compare with, everything desired that was found: see
/// [`crate::ownership`].
///
/// With [`Sweep::Everything`], what stands in the way goes first (those are the only [`ChangeClass::Disruptive`]
/// deletions). Then everything is made in apply order, and only then, in reverse order, the rest is deleted: a path is made
/// before its predecessor is broken.
pub fn changes(desired: &PlanObjects, observed: &PlanObjects, sweep: Sweep) -> Vec<Change> {
    let mut found = observed.clone();
    let mut changes = Vec::new();
    if let Sweep::Everything = sweep {
        changes = make_room(desired, &mut found);
    }
    let mut removed: Vec<Change> = ORDER.iter().rev().flat_map(|stage| (stage.removed)(desired, &found)).collect();
    if let Sweep::Only(names) = sweep {
        removed.retain(|change| names.contains(&change.object.name()));
    }
    consequences::lose_tables_bound_to_new_links(&mut found, desired);
    changes.extend(ORDER.iter().flat_map(|stage| (stage.made)(desired, &found)));
    changes.extend(removed);
    link::once_per_pair(changes)
}

/// An object that somebody else had changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drifted {
    pub object: String,
    /// How it was found.
    pub found: String,
}

/// The objects somebody else had changed: those that `changes` put right although they were declared the same in
/// `verified`, the desired state that the turn before this one left in force, and those they delete that it never
/// declared so. What only goes along with our own changes is none of them, nor is what `desired` declares no longer: of
/// that not everything is observed. A veth pair counts once. After a turn that was not verified nobody can tell.
pub fn drift(
    verified: &PlanObjects,
    desired: &PlanObjects,
    observed: &PlanObjects,
    changes: &[Change],
) -> Vec<Drifted> {
    let by_name = |objects| -> BTreeMap<String, PlanObject> {
        ORDER.iter().flat_map(|stage| (stage.listed)(objects)).map(|object| (object.name(), object)).collect()
    };
    let (declared, desired) = (by_name(verified), by_name(desired));
    let wrong: BTreeMap<String, String> =
        not_as_declared(verified, observed).into_iter().map(|report| (report.object, report.reason)).collect();
    let drifted = changes.iter().filter_map(|change| {
        let name = change.object.name();
        let declared = declared.get(&name);
        let found = match change.action {
            Action::Create | Action::Update => wrong.get(&name).filter(|_| declared == Some(&change.object))?.clone(),
            Action::Delete if declared.is_some() && !desired.contains_key(&name) => return None,
            Action::Delete if declared.is_some_and(|declared| declared.satisfied_by(&change.object)) => return None,
            Action::Delete => wrong.get(&name).cloned().unwrap_or_else(|| "is not declared".to_owned()),
        };
        Some((name, found))
    });
    let drifted: BTreeMap<String, String> = drifted.collect();
    drifted.into_iter().map(|(object, found)| Drifted { object, found }).collect()
}

/// Deletes from `found` what stands in the way of something declared, and what goes along with it.
fn make_room(desired: &PlanObjects, found: &mut PlanObjects) -> Vec<Change> {
    // by name there may be thousands; a card stands in the way of itself whatever it is called, and cards are few
    let by_name = by_key::<LinkSpec>(desired);
    let cards: Vec<&LinkSpec> = desired.links.iter().filter(|link| link.kind == LinkKind::Nic).collect();
    let in_the_way = |found: &&LinkSpec| {
        let same = by_name.get(&found.key()).into_iter().flatten();
        let cards = cards.iter().filter(|_| found.kind == LinkKind::Nic);
        same.chain(cards).any(|declared| link::in_the_way(declared, found))
    };
    let mut links: Vec<LinkSpec> = found.links.iter().filter(in_the_way).cloned().collect();
    // A card that leaves would leave its tagged segments behind.
    let tagged =
        found.links.iter().filter(|one| !links.contains(one) && links.iter().any(|link| link::is_tagged_on(one, link)));
    links.extend(tagged.cloned().collect::<Vec<_>>());
    links.sort_by_key(|link| std::cmp::Reverse(link.rank()));
    let mut changes = Vec::new();
    // A worker does not notice that the TUN under its device is gone, so the device goes before it.
    for device in found.wireguard_devices.clone() {
        let declared_otherwise = desired
            .wireguard_devices
            .iter()
            .any(|declared| declared.key() == device.key() && declared.class(&device) == ChangeClass::Disruptive);
        let on_one = links.iter().any(|link| (&link.netns, &link.name) == (&device.netns, &device.link));
        if declared_otherwise || on_one {
            consequences::lose_device(found, &device);
            changes.push(Change::delete(&device, ChangeClass::Disruptive));
        }
    }
    for datapath in found.datapath.clone() {
        if desired.datapath.iter().any(|declared| declared.class(&datapath) == ChangeClass::Disruptive) {
            consequences::lose_datapath(found);
            changes.push(Change::delete(&datapath, ChangeClass::Disruptive));
        }
    }
    for link in links {
        consequences::lose_link(found, &link);
        changes.push(Change::delete(&link, ChangeClass::Disruptive));
    }
    changes
}

/// What of noun `T` has to be created or updated.
pub(crate) fn made<T: Noun>(desired: &PlanObjects, found: &PlanObjects) -> Vec<Change> {
    if same::<T>(desired, found) {
        return Vec::new();
    }
    let found = by_key::<T>(found);
    let mut declared: Vec<&T> = T::list(desired).iter().collect();
    declared.sort_by_key(|one| one.rank());
    declared
        .into_iter()
        .filter_map(|declared| match found.get(&declared.key()).map(Vec::as_slice) {
            None | Some([]) => Some(Change::create(declared)),
            Some(same) if same.iter().any(|found| declared.satisfied_by(found)) => None,
            Some([first, ..]) => {
                // What could not be cleared out of the way stays as it is.
                declared.is_turned(first).then(|| Change::update(declared, first, declared.class(first)))
            }
        })
        .collect()
}

/// What of noun `T` has to be deleted: what is not declared, and of several that are the same one all but one.
pub(crate) fn removed<T: Noun>(desired: &PlanObjects, found: &PlanObjects) -> Vec<Change> {
    if same::<T>(desired, found) {
        return Vec::new();
    }
    let desired = by_key::<T>(desired);
    let mut gone: Vec<&T> = Vec::new();
    for (key, same) in by_key::<T>(found) {
        let kept = desired.get(&key).map(|declared| {
            // The one that satisfies, or else the first, which an update has turned into what is declared.
            same.iter().position(|found| declared.iter().any(|one| one.satisfied_by(found))).unwrap_or(0)
        });
        let surplus = same.into_iter().enumerate().filter(|(index, _)| Some(*index) != kept).map(|(_, found)| found);
        gone.extend(surplus.filter(|found| found.removable()));
    }
    gone.sort_by_key(|one| std::cmp::Reverse(one.rank()));
    gone.into_iter().map(|found| Change::delete(found, ChangeClass::None)).collect()
}

impl Change {
    fn create<T: Noun>(declared: &T) -> Change {
        Change { action: Action::Create, object: declared.clone().into(), previous: None, class: ChangeClass::None }
    }

    fn update<T: Noun>(declared: &T, found: &T, class: ChangeClass) -> Change {
        Change { action: Action::Update, object: declared.clone().into(), previous: Some(found.clone().into()), class }
    }

    fn delete<T: Noun>(found: &T, class: ChangeClass) -> Change {
        Change { action: Action::Delete, object: found.clone().into(), previous: None, class }
    }
}
