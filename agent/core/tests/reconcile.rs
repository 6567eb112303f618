//! Any kernel becomes any plan: by the thousand, against a kernel in memory.

mod world;

use std::collections::BTreeSet;

use pathsteer_agent_core::kernel::{Kernel, Refusal};
use pathsteer_agent_core::{Action, Change, ChangeClass, PlanObject, Sweep, changes, drift, names, not_as_declared};
use pathsteer_crds::plan::{LinkKind, PlanObjects};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use world::{CARDS, dice, half_build, plan, vandalise};

/// What once failed is kept beside this file and tried first.
fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(beside)), ..ProptestConfig::default() }
}

/// One turn; what was refused.
fn turn(kernel: &mut Kernel, desired: &PlanObjects) -> Vec<Refusal> {
    let changes = changes(desired, &kernel.observe(desired), Sweep::Everything);
    changes.iter().filter_map(|change| kernel.apply(change).err()).collect()
}

fn assert_in_force(kernel: &Kernel, desired: &PlanObjects) -> Result<(), TestCaseError> {
    let observed = kernel.observe(desired);
    prop_assert_eq!(not_as_declared(desired, &observed), vec![]);
    prop_assert_eq!(changes(desired, &observed, Sweep::Everything), vec![]);
    prop_assert_eq!(kernel.stale_tables(), Vec::<String>::new());
    Ok(())
}

fn is_removable(link: &&pathsteer_crds::plan::LinkSpec) -> bool {
    link.kind != LinkKind::Loopback
}

/// A map entry is written over, even where flows lose their anchor by it.
fn is_prefix(change: &Change) -> bool {
    change.action == Action::Update && matches!(change.object, PlanObject::Prefix(_))
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_kernel_becomes_any_plan_in_one_turn_and_nothing_refers_to_what_is_not_there_yet(
        before in dice(), between in dice(), gap in dice(), vandalism in dice(), after in dice()
    ) {
        let mut kernel = Kernel::holding(&plan(before), &CARDS);
        half_build(&mut kernel, &plan(between), gap);
        vandalise(&mut kernel, vandalism);
        let desired = plan(after);
        for change in changes(&desired, &kernel.observe(&desired), Sweep::Everything) {
            prop_assert_eq!(kernel.apply(&change), Ok(()));
        }
        assert_in_force(&kernel, &desired)?;
        let observed = kernel.observe(&desired);
        prop_assert_eq!(observed.netns, desired.netns);
        prop_assert_eq!(observed.links.iter().filter(is_removable).count(), desired.links.iter().filter(is_removable).count());
        prop_assert_eq!(observed.rules, desired.rules);
    }

    #[test]
    fn without_a_complete_plan_nothing_that_was_there_goes(before in dice(), after in dice()) {
        let mut kernel = Kernel::holding(&plan(before), &CARDS);
        let desired = plan(after);
        let seen = kernel.observe(&desired);
        let own = names(&desired);
        for change in changes(&desired, &seen, Sweep::Only(&own)) {
            prop_assert_ne!(change.action, Action::Delete);
            prop_assert!(change.class != ChangeClass::Disruptive || is_prefix(&change));
            // What stands in the way is left there, so some of this is refused.
            let _refused = kernel.apply(&change).is_err();
        }
        let left = kernel.observe(&desired);
        prop_assert!(seen.netns.iter().all(|one| left.netns.contains(one)));
        prop_assert!(seen.addresses.iter().all(|one| left.addresses.contains(one)));
        let is_left = |link: &pathsteer_crds::plan::LinkSpec| {
            left.links.iter().any(|other| (&other.netns, &other.name, &other.kind) == (&link.netns, &link.name, &link.kind))
        };
        prop_assert!(seen.links.iter().all(is_left));
    }

    #[test]
    fn teardown_leaves_nothing_and_gives_the_cards_back(
        before in dice(), between in dice(), gap in dice(), vandalism in dice()
    ) {
        let mut kernel = Kernel::holding(&plan(before), &CARDS);
        half_build(&mut kernel, &plan(between), gap);
        vandalise(&mut kernel, vandalism);
        prop_assert_eq!(turn(&mut kernel, &PlanObjects::default()), Vec::<Refusal>::new());
        prop_assert_eq!(kernel.observe(&PlanObjects::default()), PlanObjects::default());
        prop_assert_eq!(kernel.cards.iter().map(String::as_str).collect::<Vec<_>>(), ["lan0", "wan1", "wan2"]);
    }

    #[test]
    fn what_we_change_ourselves_is_no_drift(before in dice(), after in dice()) {
        let before = plan(before);
        let after = plan(after);
        let mut observed = Kernel::holding(&before, &CARDS).observe(&after);
        // Real drivers do not find out everything about what is declared no longer.
        let declared = |link: &String| after.wireguard_devices.iter().any(|device| device.link == *link);
        for device in observed.wireguard_devices.iter_mut().filter(|device| !declared(&device.link)) {
            device.underlay_netns.clear();
        }
        prop_assert_eq!(drift(&before, &after, &observed, &changes(&after, &observed, Sweep::Everything)), vec![]);
    }

    #[test]
    fn what_somebody_else_changed_is_all_drift_and_is_put_right(before in dice(), vandalism in dice()) {
        let desired = plan(before);
        let mut kernel = Kernel::holding(&desired, &CARDS);
        vandalise(&mut kernel, vandalism);
        let observed = kernel.observe(&desired);
        let wrong = not_as_declared(&desired, &observed).len() as u64;
        let planned = changes(&desired, &observed, Sweep::Everything);
        let drift = drift(&desired, &desired, &observed, &planned).len() as u64;
        prop_assert_eq!(drift > 0, !planned.is_empty());
        // Both ends of a pair may be wrong, and somebody may have added what is not declared at all.
        let names = |action| planned.iter().filter(|c| c.action == action).map(|c| c.object.name()).collect::<BTreeSet<_>>();
        let pairs = desired.links.iter().filter(|link| matches!(link.kind, LinkKind::Veth { .. })).count() as u64 / 2;
        let added = names(Action::Delete).len() as u64;
        prop_assert!((wrong.saturating_sub(pairs)..=wrong + added).contains(&drift), "{} of {}", drift, wrong);
        prop_assert_eq!(turn(&mut kernel, &desired), Vec::<Refusal>::new());
        assert_in_force(&kernel, &desired)?;
    }

    #[test]
    fn things_are_broken_only_after_everything_is_made_unless_they_stand_in_the_way(before in dice(), after in dice()) {
        let desired = plan(after);
        let planned = changes(&desired, &Kernel::holding(&plan(before), &CARDS).observe(&desired), Sweep::Everything);
        let phase = |change: &Change| match (change.action, change.class) {
            (Action::Delete, ChangeClass::Disruptive) => 0,
            (Action::Create | Action::Update, _) => 1,
            (Action::Delete, _) => 2,
        };
        prop_assert!(planned.iter().map(phase).is_sorted());
        let is_plain = |change: &Change| change.class != ChangeClass::Disruptive || change.action == Action::Delete;
        prop_assert!(planned.iter().all(|change| is_plain(change) || is_prefix(change)));
    }

    #[test]
    fn tunnels_come_up_when_every_guard_and_route_is_there_and_go_before_them(before in dice()) {
        let (nothing, some) = (PlanObjects::default(), plan(before));
        let observed = Kernel::holding(&some, &CARDS).observe(&nothing);
        let made = changes(&some, &Kernel::holding(&nothing, &CARDS).observe(&some), Sweep::Everything);
        let removed = changes(&nothing, &observed, Sweep::Everything);
        let is_tunnel = |change: &Change| {
            matches!(change.object, PlanObject::WireguardDevice(_) | PlanObject::WireguardPeer(_))
        };
        let is_way = |change: &Change| {
            matches!(change.object, PlanObject::NftTable(_) | PlanObject::Route(_) | PlanObject::Rule(_))
        };
        let of = |all: &[Change]| all.iter().filter(|c| is_tunnel(c) || is_way(c)).map(is_tunnel).collect::<Vec<_>>();
        prop_assert!(of(&made).is_sorted());
        prop_assert!(of(&removed).iter().rev().is_sorted());
    }
}

proptest! {
    // Each case is as many turns as it has changes.
    #![proptest_config(cases(100))]

    #[test]
    fn whichever_change_fails_the_next_turns_get_there(before in dice(), vandalism in dice(), after in dice()) {
        let mut kernel = Kernel::holding(&plan(before), &CARDS);
        vandalise(&mut kernel, vandalism);
        let desired = plan(after);
        let planned = changes(&desired, &kernel.observe(&desired), Sweep::Everything);
        for failing in 0..planned.len() {
            let mut kernel = kernel.clone();
            for (index, change) in planned.iter().enumerate() {
                if index != failing {
                    // What depends on the failed one may be refused, and is planned again.
                    let _refused = kernel.apply(change).is_err();
                }
            }
            let refused = turn(&mut kernel, &desired);
            prop_assert_eq!(refused, Vec::<Refusal>::new(), "after {:?} failed", planned[failing]);
            assert_in_force(&kernel, &desired)?;
        }
    }

    #[test]
    fn after_whichever_change_the_agent_dies_the_next_turn_gets_there(
        before in dice(), vandalism in dice(), after in dice()
    ) {
        let mut kernel = Kernel::holding(&plan(before), &CARDS);
        vandalise(&mut kernel, vandalism);
        let desired = plan(after);
        for change in changes(&desired, &kernel.observe(&desired), Sweep::Everything) {
            let mut later = kernel.clone();
            prop_assert_eq!(turn(&mut later, &desired), Vec::<Refusal>::new(), "dead before {:?}", change);
            assert_in_force(&later, &desired)?;
            prop_assert_eq!(kernel.apply(&change), Ok(()));
        }
    }
}
