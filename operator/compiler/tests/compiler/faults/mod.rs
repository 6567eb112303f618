//! Faults planted in finished plans: check must find each, and call it by its name.

mod cards;
mod paths;
mod plant;
mod treatments;
mod trunk;

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use pathsteer_compiler::{check, compile};
use pathsteer_crds::plan::{PlanObjects, Role};

use proptest::prelude::*;
use proptest::sample::Index;

use crate::{case, random};
use plant::is_blackhole;

const OVERLAY: &str = "10.100.0.0/16";
const EDGE: &str = "rv-07";
const ANCHOR: &str = "dal-a";

/// What is done to the plan of which node, and what check must say.
type Fault = (&'static str, &'static str, fn(&mut PlanObjects), &'static str);

/// In the plans of which case they are planted.
const FAULTS: [(&str, &[Fault]); 4] =
    [("rv", paths::FAULTS), ("rv", treatments::FAULTS), ("trunk", trunk::FAULTS), ("cards", cards::FAULTS)];

/// What check says of all that is planted.
pub fn reasons() -> BTreeSet<&'static str> {
    FAULTS.iter().flat_map(|(_, faults)| *faults).map(|(_, _, _, reason)| *reason).collect()
}

#[test]
fn check_finds_each_planted_fault_and_nothing_without_it() {
    let mut missed = Vec::new();
    for (case, faults) in FAULTS {
        let plans = compile(&case::inventory(case)).plans;
        for (what, node, plant, reason) in faults {
            let (role, mut objects) = (plans[*node].role, plans[*node].objects());
            assert_eq!(check(node, &objects, role, overlay()), []);
            plant(&mut objects);
            let found: BTreeSet<&str> = check(node, &objects, role, overlay()).iter().map(|one| one.reason).collect();
            if !found.contains(reason) {
                missed.push(format!("{what} on {node}: expected {reason}, found {found:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_route_without_an_mtu_is_no_fault_where_the_sites_packets_are_no_larger_than_its_tunnel() {
    let plans = compile(&case::inventory("trunk")).plans;
    let mut objects = plans["dal-a"].objects();
    let narrow = objects.routes.iter_mut().filter(|route| route.mtu == Some(1_168));
    let changed = narrow.map(|route| route.mtu = None).count();
    assert!(changed > 0);
    assert_eq!(check("dal-a", &objects, Role::Anchor, overlay()), []);
}

#[test]
fn an_uplink_in_place_has_one_way_of_its_own_and_where_that_ends() {
    let objects = compile(&case::inventory("cards")).plans["truck"].objects();
    assert_eq!(objects.routes.iter().filter(|route| route.netns.is_empty() && route.table == 7_704).count(), 2);
}

/// Whatever kind of object loses any one of its own, something no longer works, and check says so.
#[test]
fn check_misses_no_single_object_that_a_path_needs() {
    let plans = compile(&case::inventory("rv")).plans;
    for (node, plan) in &plans {
        let without = each_less(&plan.objects());
        assert!(without.len() > 20);
        for (gone, objects) in without {
            assert_ne!(check(node, &objects, plan.role, overlay()), [], "{node} without {gone}");
        }
    }
}

/// The plan without each of the objects that something needs, and which one that is.
fn each_less(whole: &PlanObjects) -> Vec<(String, PlanObjects)> {
    let mut without = Vec::new();
    macro_rules! each {
        ($($field:ident),*) => {$(
            for index in 0..whole.$field.len() {
                let mut less = whole.clone();
                let gone = less.$field.remove(index);
                without.push((format!("{gone:?}"), less));
            }
        )*};
    }
    each!(netns, links, wireguard_devices, rules, nft_tables, datapath, programs, remotes);
    without
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The same of whatever else there may be.
    #[test]
    fn check_misses_no_single_object_of_any_plan_that_a_path_needs(
        inventory in random::inventory(),
        node in any::<Index>(),
        place in any::<Index>(),
    ) {
        let plans = compile(&inventory).plans;
        prop_assume!(!plans.is_empty());
        let (node, plan) = plans.iter().nth(node.index(plans.len())).unwrap();
        let overlay = inventory.fabrics["default"].overlay;
        let without = each_less(&plan.objects());
        let (gone, less) = &without[place.index(without.len())];
        prop_assert_ne!(check(node, less, plan.role, overlay), [], "{} without {}", node, gone);
    }
}

#[test]
fn a_finding_names_node_object_and_consequence() {
    let plans = compile(&case::inventory("rv")).plans;
    let mut objects = plans[EDGE].objects();
    objects.routes.retain(|route| !is_blackhole(route, "psup2", 254));
    let findings: Vec<String> = check(EDGE, &objects, Role::Edge, overlay()).iter().map(ToString::to_string).collect();
    assert_eq!(findings, ["rv-07: netns psup2: has no blackhole for the overlay 10.100.0.0/16 (OverlayNotBlackholed)"]);
}

fn overlay() -> Ipv4Net {
    OVERLAY.parse().unwrap()
}
