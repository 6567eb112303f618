//! What happens when a pool of numbers is used up.

use std::collections::BTreeMap;

use pathsteer_compiler::{Diagnostic, Inventory, Severity, check, compile};
use pathsteer_crds::manifest;

fn inventory(overlay: &str) -> Inventory {
    let mut inventory = Inventory::default();
    let fabric = format!("kind: Fabric\nmetadata: {{name: default}}\nspec: {{overlay: {overlay}}}");
    insert(&mut inventory, &fabric);
    anchor(&mut inventory, 1);
    inventory
}

fn insert(inventory: &mut Inventory, manifest: &str) {
    let text = format!("apiVersion: pathsteer.io/v1alpha1\n{manifest}");
    manifest::parse(&text, "test").unwrap().into_iter().for_each(|one| inventory.insert(one.object));
}

fn anchor(inventory: &mut Inventory, number: usize) {
    let internet = format!("{{interface: inet0, addresses: [198.51.{number}.1/24]}}");
    let spec = format!("{{endpoints: [{{address: 203.0.113.{number}}}], internet: {internet}}}");
    insert(inventory, &format!("kind: Anchor\nmetadata: {{name: an-{number:02}}}\nspec: {spec}"));
}

fn site(inventory: &mut Inventory, number: usize) {
    let spec = format!("{{anchors: [an-01], prefixes: [172.16.{number}.0/24]}}");
    insert(inventory, &format!("kind: Site\nmetadata: {{name: site-{number:03}}}\nspec: {spec}"));
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().filter(|one| one.severity == Severity::Error).map(ToString::to_string).collect()
}

#[test]
fn the_sixteenth_anchor_is_refused_and_the_others_stay() {
    let mut inventory = inventory("10.100.0.0/16");
    (2..=16).for_each(|number| anchor(&mut inventory, number));
    let compiled = compile(&inventory);
    assert_eq!(compiled.plans.len(), 15);
    assert_eq!(
        errors(&compiled.diagnostics),
        ["Error Anchor an-16 PoolExhausted: a fabric has at most 15 anchors: delete one first"]
    );
    let mut indexes: Vec<u8> = compiled.allocations.anchors.into_values().collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (1..=15).collect::<Vec<u8>>());
}

#[test]
fn a_slash_20_has_room_for_127_nodes_and_what_comes_later_waits_for_a_place() {
    let mut inventory = inventory("10.100.0.0/20");
    (1..=127).for_each(|number| site(&mut inventory, number));
    let compiled = compile(&inventory);
    let full = "the overlay 10.100.0.0/20 holds 127 nodes, all taken: delete a Site or Anchor, or plan a wider overlay (a /16 holds 2047)";
    assert_eq!(errors(&compiled.diagnostics), [format!("Error Site site-127 PoolExhausted: {full}")]);
    assert_eq!(compiled.plans.len(), 127);

    inventory.allocations = compiled.allocations.clone();
    let mut with_anchor = inventory.clone();
    anchor(&mut with_anchor, 2);
    let refused =
        [format!("Error Anchor an-02 PoolExhausted: {full}"), format!("Error Site site-127 PoolExhausted: {full}")];
    assert_eq!(errors(&compile(&with_anchor).diagnostics), refused);

    inventory.sites.remove("site-050");
    let later = compile(&inventory);
    assert_eq!(errors(&later.diagnostics), [""; 0]);
    let expected: BTreeMap<String, u32> = compiled
        .allocations
        .nodes
        .into_iter()
        .map(|(name, number)| if name == "site-050" { ("site-127".to_owned(), number) } else { (name, number) })
        .collect();
    assert_eq!(later.allocations.nodes, expected, "the newcomer gets the free place, nobody else moves");
}

#[test]
fn an_overlay_that_shrinks_gives_those_outside_new_numbers_and_nobody_twice() {
    let mut inventory = inventory("10.100.0.0/20");
    (1..=3).for_each(|number| site(&mut inventory, number));
    inventory.allocations.nodes =
        [("site-001", 500), ("site-002", 2), ("site-003", 2)].map(|(n, i)| (n.to_owned(), i)).into();
    let compiled = compile(&inventory);
    let numbers: Vec<(&str, u32)> =
        compiled.allocations.nodes.iter().map(|(name, number)| (&**name, *number)).collect();
    assert_eq!(numbers, [("an-01", 3), ("site-001", 4), ("site-002", 2), ("site-003", 5)]);
    for (node, plan) in compiled.plans {
        assert_eq!(check(&node, &plan.objects(), plan.role, "10.100.0.0/20".parse().unwrap()), []);
    }
}
