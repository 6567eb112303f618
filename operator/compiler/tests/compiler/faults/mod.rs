//! Faults planted in finished plans: check must find each, and call it by its name.

mod paths;
mod plant;
mod treatments;

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use pathsteer_compiler::{check, compile};
use pathsteer_crds::plan::{LinkKind, LinkSpec, NftRule, PlanObjects, Role, RouteSpec};

use crate::case;
use plant::{by, drop_nft, is_blackhole, link, net, rule, unprotect};

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

#[test]
fn check_finds_what_would_touch_the_nodes_own_network_or_leave_by_another_card_than_the_uplinks() {
    let plans = compile(&case::inventory("cards")).plans;
    let found = |plant: fn(&mut PlanObjects)| {
        let mut objects = plans["truck"].objects();
        assert_eq!(check("truck", &objects, Role::Edge, overlay()), []);
        plant(&mut objects);
        check("truck", &objects, Role::Edge, overlay()).iter().map(|one| one.reason).collect::<BTreeSet<_>>()
    };
    let lent = |route: &&mut RouteSpec| route.netns.is_empty() && route.table == 7_704;
    fn of_home(p: &mut PlanObjects) -> &mut Vec<NftRule> {
        &mut p.nft_tables.iter_mut().find(|table| table.netns.is_empty()).unwrap().rules
    }
    type AtHome = (fn(&mut PlanObjects), &'static str);
    let faults: &[AtHome] = &[
        (|p| p.links.push(LinkSpec::new("", "eth0", LinkKind::Nic)), "NotOurs"),
        (|p| p.routes.push(by("", 254, "0.0.0.0/0", "wwan0")), "NotOurs"),
        (|p| p.routes.push(by("", 254, "0.0.0.0/0", "psh0")), "NotOurs"),
        (|p| rule(p, 7_704).iif = None, "NotOurs"),
        (|p| of_home(p).push(NftRule::ClampMss { link: "wwan0".into() }), "NotOurs"),
        (|p| of_home(p).push(NftRule::Protect { link: "wwan0".into(), welcome: vec![] }), "NotOurs"),
        (|p| p.rules.retain(|rule| !rule.netns.is_empty()), "PathUnclear"),
        (|p| p.routes.retain(|route| !is_blackhole(route, "", 7_704)), "PathOpen"),
        (|p| p.routes.push(by("", 7_704, "0.0.0.0/0", "eth0")), "PathBroken"),
        (|p| of_home(p).retain(|rule| !matches!(rule, NftRule::Masquerade { .. })), "NotTranslated"),
        (|p| of_home(p).retain(|rule| !matches!(rule, NftRule::Protect { .. })), "NotProtected"),
        (|p| p.routes.iter_mut().for_each(|route| route.while_host_default = None), "DirectUnconditional"),
        (|p| link(p, "psn1").name = "wan1".into(), "NothingThere"),
        (|p| link(p, "psn1").card = None, "NotTheirs"),
        (|p| drop_nft(p, "psup4", |rule| matches!(rule, NftRule::DropOverlay { .. })), "WanNotGuarded"),
    ];
    for (place, (plant, reason)) in faults.iter().enumerate() {
        let found = found(*plant);
        assert!(found.contains(reason), "fault {place}: expected {reason}, found {found:?}");
    }
    let mut objects = plans["truck"].objects();
    assert_eq!(objects.routes.iter_mut().filter(lent).count(), 2, "its way, and where that ends");
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
