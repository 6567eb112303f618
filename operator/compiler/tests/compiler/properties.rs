//! What holds for every inventory.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_compiler::{Allocations, Compiled, CompiledPlan, Inventory, Reason, Severity, check, compile};
use pathsteer_crds::Kind;
use pathsteer_crds::canonical;
use pathsteer_crds::plan::{NftRule, PLAN_VERSION, PlanRoot, Role, assemble, split};
use proptest::prelude::*;

use crate::random;

/// The inventory with the numbers it has been given.
fn settled(mut inventory: Inventory) -> (Inventory, Compiled) {
    let compiled = compile(&inventory);
    inventory.allocations = compiled.allocations.clone();
    (inventory, compiled)
}

fn extended(inventory: &Inventory, newcomer: Inventory) -> Inventory {
    let mut both = inventory.clone();
    both.sites.extend(newcomer.sites);
    both.uplinks.extend(newcomer.uplinks);
    both.vlans.extend(newcomer.vlans);
    both.identities.extend(newcomer.identities);
    both
}

/// Every number of `before` that is still given is the same.
fn no_number_changed(before: &Allocations, after: &Allocations) -> bool {
    fn same<N: PartialEq>(before: &BTreeMap<String, N>, after: &BTreeMap<String, N>) -> bool {
        before.iter().all(|(name, number)| after.get(name).is_none_or(|now| now == number))
    }
    same(&before.nodes, &after.nodes) && same(&before.anchors, &after.anchors) && same(&before.classes, &after.classes)
}

/// No number is given twice.
fn numbers_are_unique(allocations: &Allocations) -> bool {
    fn unique<N: Ord>(numbers: &BTreeMap<String, N>) -> bool {
        numbers.values().collect::<BTreeSet<_>>().len() == numbers.len()
    }
    unique(&allocations.nodes) && unique(&allocations.anchors) && unique(&allocations.classes)
}

fn but_for_barred(plan: &CompiledPlan) -> CompiledPlan {
    let mut plan = plan.clone();
    for rule in plan.scopes.values_mut().flat_map(|plan| &mut plan.nft_tables).flat_map(|table| &mut table.rules) {
        if let NftRule::Segment { barred, .. } = rule {
            barred.clear();
        }
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn check_finds_nothing_in_what_compile_makes(inventory in random::inventory()) {
        let overlay = inventory.fabrics["default"].overlay;
        for (node, plan) in compile(&inventory).plans {
            prop_assert_eq!(check(&node, &plan.objects(), plan.role, overlay), []);
        }
    }

    #[test]
    fn compiling_again_with_its_own_numbers_changes_nothing(inventory in random::inventory()) {
        let (inventory, first) = settled(inventory);
        prop_assert!(numbers_are_unique(&first.allocations));
        let second = compile(&inventory);
        prop_assert_eq!(&second.diagnostics, &first.diagnostics);
        prop_assert_eq!(&second.allocations, &first.allocations);
        prop_assert!(second.plans == first.plans);
    }

    #[test]
    fn a_new_site_changes_no_other_edge_and_no_number(
        inventory in random::inventory(),
        newcomer in random::newcomer(),
    ) {
        let (inventory, before) = settled(inventory);
        let after = compile(&extended(&inventory, newcomer));
        // But for two things that everyone knows: the first service brings its class, and guests are kept from every site.
        let classes_exist = before.allocations.classes == after.allocations.classes;
        for (node, plan) in before.plans.iter().filter(|(_, plan)| plan.role == Role::Edge && classes_exist) {
            prop_assert_eq!(after.plans.get(node).map(but_for_barred), Some(but_for_barred(plan)), "the plan of {}", node);
        }
        // On an anchor only what belongs to all sites and what belongs to the new one may change.
        for (node, plan) in before.plans.iter().filter(|(_, plan)| plan.role == Role::Anchor) {
            for (scope, objects) in plan.scopes.iter().filter(|(scope, _)| *scope != "node" && classes_exist) {
                prop_assert_eq!(after.plans[node].scopes.get(scope), Some(objects), "{} for {}", node, scope);
            }
        }
        let kept = before.allocations.nodes.keys().all(|name| after.allocations.nodes.contains_key(name));
        prop_assert!(kept && no_number_changed(&before.allocations, &after.allocations));
        prop_assert!(numbers_are_unique(&after.allocations));
    }

    #[test]
    fn a_site_that_goes_leaves_everyone_elses_numbers(
        inventory in random::inventory().prop_filter("somebody must go", |inventory| !inventory.sites.is_empty()),
        which in any::<prop::sample::Index>(),
    ) {
        let (mut inventory, before) = settled(inventory);
        let gone = inventory.sites.keys().nth(which.index(inventory.sites.len())).unwrap().clone();
        inventory.sites.remove(&gone);
        let after = compile(&inventory);
        prop_assert!(!after.allocations.nodes.contains_key(&gone), "its number is free");
        prop_assert!(no_number_changed(&before.allocations, &after.allocations));
        prop_assert!(!after.plans.contains_key(&gone));
    }

    #[test]
    fn a_node_has_a_plan_exactly_if_it_is_not_in_error(inventory in random::inventory()) {
        let compiled = compile(&inventory);
        let nodes = |kind| match kind {
            Kind::Site => inventory.sites.keys().collect::<Vec<_>>(),
            _ => inventory.anchors.keys().collect(),
        };
        for kind in [Kind::Site, Kind::Anchor] {
            for name in nodes(kind) {
                let in_error = compiled.diagnostics.iter().any(|one| {
                    one.kind == kind && one.key == *name && one.severity == Severity::Error
                });
                prop_assert_eq!(compiled.plans.contains_key(name), !in_error, "{} {}", kind, name);
            }
        }
    }

    #[test]
    fn the_fragments_of_a_plan_make_the_same_plan(inventory in random::inventory()) {
        for (node, plan) in compile(&inventory).plans {
            let fragments = split(&plan.scopes);
            let root = PlanRoot {
                version: PLAN_VERSION,
                node,
                role: plan.role,
                store_epoch: 0,
                generation: 1,
                fragments: fragments.iter().map(|(name, json)| (name.clone(), canonical::sha256(json.as_bytes()))).collect(),
            };
            let by_hash = fragments.into_values().map(|json| (canonical::sha256(json.as_bytes()), json)).collect();
            prop_assert_eq!(assemble(&root, &by_hash).unwrap().objects, plan.objects());
        }
    }

    #[test]
    fn allocations_survive_being_stored(inventory in random::inventory()) {
        let allocations = compile(&inventory).allocations;
        let stored = canonical::to_json(&allocations);
        prop_assert_eq!(serde_json::from_str::<Allocations>(&stored).unwrap(), allocations);
    }
}

#[test]
fn an_object_whose_own_fields_are_unsound_is_left_out_with_what_depends_on_it() {
    let mut inventory = crate::case::inventory("rv");
    inventory.uplinks.get_mut("rv-07/fiber").unwrap().slot = 9;
    let compiled = compile(&inventory);
    let [diagnostic] = compiled.diagnostics.as_slice() else { panic!("{:?}", compiled.diagnostics) };
    assert_eq!((diagnostic.kind, &*diagnostic.key, diagnostic.reason), (Kind::Uplink, "rv-07/fiber", Reason::Invalid));
    let slots: Vec<u8> = compiled.plans["rv-07"].objects().paths.iter().map(|path| path.slot).collect();
    assert_eq!(slots, [2, 3]);

    inventory.anchors.get_mut("dal-a").unwrap().endpoints.clear();
    assert!(compile(&inventory).plans.is_empty(), "a site without its anchor has nowhere to go");
}

#[test]
fn the_order_in_which_objects_come_in_makes_no_difference() {
    let once = crate::case::inventory("two-sites-two-anchors");
    let mut again = Inventory { identities: once.identities.clone(), ..Inventory::default() };
    let objects = crate::case::objects("two-sites-two-anchors");
    assert!(objects.len() > 10);
    objects.into_iter().rev().for_each(|object| again.insert(object));
    assert_eq!(compile(&again), compile(&once));
}
