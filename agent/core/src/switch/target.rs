//! What a class should be sent by, from what is declared.

use pathsteer_crds::ModeKind;
use pathsteer_crds::mark::copy_bit;
use pathsteer_crds::plan::{PathSpec, SteeringSpec};

pub(super) struct Target {
    /// Active slot and copy set; absent if no slot will do.
    pub wanted: Option<(u8, u8)>,
    /// Why, in words.
    pub reason: String,
    /// Slots by which the far end is told.
    pub live: Vec<u8>,
}

/// A forced slot wins over a failed one: a person named it. A forced slot without a tunnel to the remote is passed over.
pub(super) fn of(spec: &SteeringSpec, paths: &[PathSpec]) -> Target {
    let slots: Vec<u8> = spec.slots.iter().copied().filter(|slot| (1..=8).contains(slot)).collect();
    let usable: Vec<u8> = slots.iter().copied().filter(|slot| !spec.failed.contains(slot)).collect();
    let forced = spec.forced.filter(|slot| slots.contains(slot));
    let Some(active) = forced.or_else(|| usable.first().copied()) else {
        let reason = if slots.is_empty() {
            "no uplink has a tunnel to this remote".to_owned()
        } else {
            format!("no path left: {} failed by an override", names(&slots, paths))
        };
        return Target { wanted: None, reason, live: Vec::new() };
    };
    let copies = match spec.mode {
        ModeKind::Mirror => {
            let others = usable.iter().filter(|slot| **slot != active).take(usize::from(spec.copies));
            others.fold(0, |set, slot| set | copy_bit(*slot) as u8)
        }
        // Nothing measures yet, so nothing trips.
        ModeKind::Training | ModeKind::Tripwire => 0,
    };
    let live = slots.iter().copied().filter(|slot| *slot == active || usable.contains(slot)).collect();
    Target { wanted: Some((active, copies)), reason: reason(spec, &slots, active, forced, paths), live }
}

fn reason(spec: &SteeringSpec, slots: &[u8], active: u8, forced: Option<u8>, paths: &[PathSpec]) -> String {
    if forced.is_some() {
        return "forced by an override".to_owned();
    }
    let passed_over: Vec<u8> = slots.iter().copied().take_while(|slot| *slot != active).collect();
    let mut reason = if passed_over.is_empty() {
        "lowest cost".to_owned()
    } else {
        format!("{} failed by an override", names(&passed_over, paths))
    };
    if let Some(absent) = spec.forced {
        reason += &format!("; {}, forced by an override, has no tunnel to this remote", name(absent, paths));
    }
    reason
}

fn names(slots: &[u8], paths: &[PathSpec]) -> String {
    slots.iter().map(|slot| name(*slot, paths)).collect::<Vec<_>>().join(", ")
}

fn name(slot: u8, paths: &[PathSpec]) -> String {
    paths.iter().find(|path| path.slot == slot).map_or_else(|| format!("slot {slot}"), |path| path.name.clone())
}
