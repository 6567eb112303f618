//! What holds for every inventory.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_compiler::{Allocations, Compiled, Inventory, Reason, Severity, check, compile};
use pathsteer_crds::Kind;
use pathsteer_crds::canonical;
use pathsteer_crds::plan::{PLAN_VERSION, PlanRoot, assemble, split};
use proptest::prelude::*;

use crate::random;

/// The inventory with the numbers it has been given.
fn settled(mut inventory: Inventory) -> (Inventory, Compiled) {
    let compiled = compile(&inventory);
    inventory.allocations = compiled.allocations.clone();
    (inventory, compiled)
}

/// No number is given twice.
pub fn numbers_are_unique(allocations: &Allocations) -> bool {
    fn unique<N: Ord>(numbers: &BTreeMap<String, N>) -> bool {
        numbers.values().collect::<BTreeSet<_>>().len() == numbers.len()
    }
    unique(&allocations.nodes) && unique(&allocations.anchors) && unique(&allocations.classes)
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
