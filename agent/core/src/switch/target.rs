//! What a class should be sent by, from what is declared.

use pathsteer_crds::ModeKind;
use pathsteer_crds::mark::copy_bit;
use pathsteer_crds::plan::{PathSpec, SteeringSpec};

use super::{Avoid, Choice};

pub(super) struct Target {
    /// Active slot and copy set; absent if no slot will do.
    pub wanted: Option<(u8, u8)>,
    /// Why, in words.
    pub reason: String,
    /// Slots by which the far end is told.
    pub live: Vec<u8>,
}

/// A forced slot wins over a failed one: a person named it. A forced slot without a tunnel to the remote is passed over, one
/// about to be interrupted is left until it has been.
/// What is avoided comes last, but what is left comes before what is not up if it is `current`, in force: that works.
pub(super) fn of(spec: &SteeringSpec, paths: &[PathSpec], avoid: &Avoid, current: Option<Choice>) -> Target {
    let slots: Vec<u8> = spec.slots.iter().copied().filter(|slot| (1..=8).contains(slot)).collect();
    let mut usable: Vec<u8> = slots.iter().copied().filter(|slot| !spec.failed.contains(slot)).collect();
    let in_use = |slot: u8| current.is_some_and(|now| now.active == slot || now.copies & copy_bit(slot) as u8 != 0);
    let is_left = |slot: u8| avoid.leave.contains(&(spec.remote, slot));
    usable.sort_by_key(|slot| match (is_left(*slot), current) {
        (true, Some(now)) if now.active == *slot => 1,
        (true, _) => 3,
        (false, _) if in_use(*slot) || !avoid.not_up.contains(&(spec.remote, *slot)) => 0,
        (false, _) => 2,
    });
    let stays = |slot: u8| !is_left(slot) || usable.iter().all(|other| is_left(*other));
    let forced = spec.forced.filter(|slot| slots.contains(slot) && stays(*slot));
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
            let may_copy = |slot: &&u8| **slot != active && (is_left(active) || !is_left(**slot));
            let others = usable.iter().filter(may_copy).take(usize::from(spec.copies));
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
    let (failed, avoided): (Vec<u8>, Vec<u8>) = passed_over.iter().partition(|slot| spec.failed.contains(slot));
    let passed_over = [(failed, "failed by an override"), (avoided, "not up, or about to be interrupted")];
    let passed_over = passed_over.iter().filter(|(slots, _)| !slots.is_empty());
    let passed_over: Vec<String> = passed_over.map(|(slots, why)| format!("{} {why}", names(slots, paths))).collect();
    let mut reason = if passed_over.is_empty() { "lowest cost".to_owned() } else { passed_over.join("; ") };
    if let Some(other) = spec.forced {
        let why = if slots.contains(&other) { "is about to be interrupted" } else { "has no tunnel to this remote" };
        reason += &format!("; {}, forced by an override, {why}", name(other, paths));
    }
    reason
}

fn names(slots: &[u8], paths: &[PathSpec]) -> String {
    slots.iter().map(|slot| name(*slot, paths)).collect::<Vec<_>>().join(", ")
}

fn name(slot: u8, paths: &[PathSpec]) -> String {
    paths.iter().find(|path| path.slot == slot).map_or_else(|| format!("slot {slot}"), |path| path.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(mode: ModeKind, copies: u8, forced: Option<u8>, failed: &[u8]) -> SteeringSpec {
        let failed = failed.to_vec();
        SteeringSpec {
            remote: 1,
            class: 1,
            class_name: "voice".into(),
            mode,
            copies,
            slots: vec![2, 1, 3],
            forced,
            failed,
        }
    }

    fn decided(spec: &SteeringSpec) -> (Option<(u8, u8)>, String) {
        avoiding(spec, &Avoid::default(), None)
    }

    fn avoiding(spec: &SteeringSpec, avoid: &Avoid, current: Option<Choice>) -> (Option<(u8, u8)>, String) {
        let paths = [PathSpec {
            slot: 2,
            name: "fiber".into(),
            netns: "psup2".into(),
            cost: 10,
            metered: false,
            resolvers: vec![],
        }];
        let target = of(spec, &paths, avoid, current);
        (target.wanted, target.reason)
    }

    #[test]
    fn the_preferred_slot_is_active_and_the_next_ones_carry_the_copies_of_a_mirror() {
        assert_eq!(decided(&spec(ModeKind::Mirror, 1, None, &[])), (Some((2, 0b001)), "lowest cost".into()));
        assert_eq!(decided(&spec(ModeKind::Mirror, 3, None, &[])), (Some((2, 0b101)), "lowest cost".into()));
    }

    #[test]
    fn only_a_mirror_copies_for_now() {
        assert_eq!(decided(&spec(ModeKind::Training, 1, None, &[])).0, Some((2, 0)));
        assert_eq!(decided(&spec(ModeKind::Tripwire, 1, None, &[])).0, Some((2, 0)));
    }

    #[test]
    fn a_failed_slot_is_passed_over_by_name_and_carries_no_copies() {
        let (wanted, reason) = decided(&spec(ModeKind::Mirror, 3, None, &[2]));
        assert_eq!((wanted, reason.as_str()), (Some((1, 0b100)), "fiber failed by an override"));
        assert_eq!(
            of(&spec(ModeKind::Mirror, 3, None, &[2]), &[], &Avoid::default(), None).live,
            [1, 3],
            "nor is anybody told by it"
        );
    }

    #[test]
    fn a_forced_slot_wins_even_over_its_own_failure() {
        let (wanted, reason) = decided(&spec(ModeKind::Mirror, 1, Some(3), &[3]));
        assert_eq!((wanted, reason.as_str()), (Some((3, 0b010)), "forced by an override"));
    }

    #[test]
    fn a_forced_slot_without_a_tunnel_is_named_and_passed_over() {
        let (wanted, reason) = decided(&spec(ModeKind::Mirror, 1, Some(8), &[]));
        assert_eq!(wanted, Some((2, 0b001)));
        assert_eq!(reason, "lowest cost; slot 8, forced by an override, has no tunnel to this remote");
    }

    #[test]
    fn without_a_usable_slot_there_is_no_target_but_a_reason() {
        let (wanted, reason) = decided(&spec(ModeKind::Mirror, 1, None, &[1, 2, 3]));
        assert_eq!((wanted, reason.as_str()), (None, "no path left: fiber, slot 1, slot 3 failed by an override"));
        let none = SteeringSpec { slots: Vec::new(), ..spec(ModeKind::Mirror, 1, None, &[]) };
        assert_eq!(decided(&none), (None, "no uplink has a tunnel to this remote".into()));
    }

    fn paths(slots: &[u8]) -> std::collections::BTreeSet<(u32, u8)> {
        slots.iter().map(|slot| (1, *slot)).collect()
    }

    fn in_force(active: u8, copies: u8) -> Option<Choice> {
        Some(Choice { active, copies, counter: 1 })
    }

    #[test]
    fn a_path_about_to_be_interrupted_is_left_unless_it_is_all_there_is() {
        let mirror = spec(ModeKind::Mirror, 1, None, &[]);
        let leave = |slots: &[u8]| Avoid { leave: paths(slots), ..Avoid::default() };
        let (wanted, reason) = avoiding(&mirror, &leave(&[2]), in_force(2, 1));
        assert_eq!((wanted, reason.as_str()), (Some((1, 0b100)), "fiber not up, or about to be interrupted"));
        assert_eq!(avoiding(&mirror, &leave(&[2, 1]), in_force(2, 1)).0, Some((3, 0)), "nor is copied by one");
        assert_eq!(avoiding(&mirror, &leave(&[2, 1, 3]), in_force(1, 2)).0, Some((1, 0b10)), "it stays where it is");
        let forced = spec(ModeKind::Mirror, 1, Some(3), &[]);
        assert_eq!(avoiding(&forced, &leave(&[1, 2, 3]), in_force(3, 0)).0, Some((3, 0b10)));
        let (wanted, reason) = avoiding(&forced, &leave(&[3]), in_force(3, 0));
        let why = "lowest cost; slot 3, forced by an override, is about to be interrupted";
        assert_eq!((wanted, reason.as_str()), (Some((2, 0b1)), why));
        let both = avoiding(&spec(ModeKind::Training, 1, None, &[1]), &leave(&[2]), in_force(2, 0)).1;
        assert_eq!(both, "slot 1 failed by an override; fiber not up, or about to be interrupted");
    }

    #[test]
    fn nothing_goes_to_a_path_that_is_not_up_but_what_is_there_stays() {
        let training = spec(ModeKind::Training, 1, None, &[]);
        let not_up = |slots: &[u8]| Avoid { not_up: paths(slots), ..Avoid::default() };
        assert_eq!(
            avoiding(&training, &not_up(&[2]), in_force(1, 0)).0,
            Some((1, 0)),
            "the cheapest has to come up first"
        );
        assert_eq!(avoiding(&training, &not_up(&[]), in_force(1, 0)).0, Some((2, 0)), "and is chosen then");
        assert_eq!(avoiding(&training, &not_up(&[2]), in_force(2, 0)).0, Some((2, 0)), "a pause of its own is none");
        assert_eq!(avoiding(&training, &not_up(&[1, 2, 3]), None).0, Some((2, 0)), "after a start nothing is up");
        let leave = Avoid { leave: paths(&[2]), not_up: paths(&[1, 3]) };
        assert_eq!(avoiding(&training, &leave, in_force(2, 0)).0, Some((2, 0)), "better than what has never worked");
        let mirror = spec(ModeKind::Mirror, 1, None, &[]);
        assert_eq!(avoiding(&mirror, &not_up(&[1]), in_force(2, 0)).0, Some((2, 0b100)), "copies go where they arrive");
        assert_eq!(avoiding(&mirror, &not_up(&[1, 3]), in_force(2, 0)).0, Some((2, 0b1)), "or may, soon");
    }
}
