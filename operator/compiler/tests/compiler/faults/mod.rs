//! Faults planted in finished plans: check must find each, and call it by its name.

mod paths;
mod plant;
mod treatments;

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use pathsteer_compiler::{check, compile};
use pathsteer_crds::plan::{PlanObjects, Role};

use crate::case;
use plant::{is_blackhole, link, net, unprotect};

const OVERLAY: &str = "10.100.0.0/16";
const EDGE: &str = "rv-07";
const ANCHOR: &str = "dal-a";

/// What is done to the plan of which node, and what check must say.
type Fault = (&'static str, &'static str, fn(&mut PlanObjects), &'static str);

#[test]
fn check_finds_each_planted_fault_and_nothing_without_it() {
    let plans = compile(&case::inventory("rv")).plans;
    let mut missed = Vec::new();
    for (what, node, plant, reason) in paths::FAULTS.iter().chain(treatments::FAULTS) {
        let (role, mut objects) = (plans[*node].role, plans[*node].objects());
        assert_eq!(check(node, &objects, role, overlay()), []);
        plant(&mut objects);
        let found: BTreeSet<&str> = check(node, &objects, role, overlay()).iter().map(|one| one.reason).collect();
        if !found.contains(reason) {
            missed.push(format!("{what} on {node}: expected {reason}, found {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn check_finds_what_is_missing_on_a_trunk_and_in_a_pool() {
    let plans = compile(&case::inventory("trunk")).plans;
    let found = |node: &str, plant: fn(&mut PlanObjects)| {
        let mut objects = plans[node].objects();
        assert_eq!(check(node, &objects, plans[node].role, overlay()), []);
        plant(&mut objects);
        check(node, &objects, plans[node].role, overlay()).iter().map(|one| one.reason).collect::<BTreeSet<_>>()
    };
    assert!(found("ship", |p| unprotect(p, "psvip", "trunk1")).contains("NotProtected"));
    assert!(found("ship", |p| p.links.retain(|link| link.name != "psq20")).contains("NothingThere"));
    let one_address = |p: &mut PlanObjects| p.addresses.retain(|own| own.address != net("198.51.100.19/32"));
    assert!(found("dal-a", one_address).contains("PoolNotAssigned"));
    let too_large =
        |p: &mut PlanObjects| p.routes.iter_mut().filter(|r| r.mtu == Some(1_168)).for_each(|r| r.mtu = None);
    assert_eq!(found("dal-a", too_large), BTreeSet::new(), "the other site's packets are no larger than its tunnel");
    assert!(found("dal-a", |p| link(p, "psw1").mtu = Some(1_311)).contains("TooBig"));
}

/// Whatever kind of object loses any one of its own, something no longer works, and check says so.
#[test]
fn check_misses_no_single_object_that_a_path_needs() {
    let plans = compile(&case::inventory("rv")).plans;
    for (node, plan) in &plans {
        let whole = plan.objects();
        let mut without: Vec<(String, PlanObjects)> = Vec::new();
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
        assert!(without.len() > 20);
        for (gone, objects) in without {
            assert_ne!(check(node, &objects, plan.role, overlay()), [], "{node} without {gone}");
        }
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
