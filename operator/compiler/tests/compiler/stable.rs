//! Stability: a small change gives a small difference and moves nobody else; the order in which things are written
//! makes none at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pathsteer_compiler::{Compiled, CompiledPlan, Compiler, Inventory, compile};
use pathsteer_crds::plan::{NftRule, split};
use pathsteer_crds::{AnyObject, Object, SegmentTreatment, UplinkSpec, manifest};
use proptest::prelude::*;

use crate::properties::numbers_are_unique;
use crate::{case, random};

/// What a person does to one site.
#[derive(Debug, Clone)]
enum Change {
    /// The site and all that belongs to it.
    Remove,
    /// A site of this name, or instead of it, with all that belongs to the newcomer.
    Become(Box<Inventory>),
    /// Its uplinks alone.
    Uplinks(Box<Inventory>),
    /// Its segments alone.
    Vlans(Box<Inventory>),
}

fn change() -> impl Strategy<Value = Change> {
    let newcomer = || random::newcomer().prop_map(Box::new);
    prop_oneof![
        Just(Change::Remove),
        newcomer().prop_map(Change::Become),
        newcomer().prop_map(Change::Uplinks),
        newcomer().prop_map(Change::Vlans),
    ]
}

/// The inventory after `change` of `site`.
fn changed(before: &Inventory, site: &str, change: &Change) -> Inventory {
    let mut after = before.clone();
    let foreign = |key: &String| key.split_once('/').is_none_or(|(of, _)| of != site);
    let renamed = |key: &String| format!("{site}/{}", key.split_once('/').unwrap().1);
    if !matches!(change, Change::Vlans(_)) {
        after.uplinks.retain(|key, _| foreign(key));
    }
    if !matches!(change, Change::Uplinks(_)) {
        after.vlans.retain(|key, _| foreign(key));
    }
    match change {
        Change::Remove => drop(after.sites.remove(site)),
        Change::Become(newcomer) => {
            after.sites.extend(newcomer.sites.values().map(|spec| (site.to_owned(), spec.clone())));
            after.identities.extend(newcomer.identities.values().map(|one| (site.to_owned(), one.clone())));
        }
        Change::Uplinks(_) | Change::Vlans(_) => {}
    }
    if let Change::Become(newcomer) | Change::Uplinks(newcomer) = change {
        after.uplinks.extend(newcomer.uplinks.iter().map(|(key, spec)| (renamed(key), spec.clone())));
    }
    if let Change::Become(newcomer) | Change::Vlans(newcomer) = change {
        after.vlans.extend(newcomer.vlans.iter().map(|(key, spec)| (renamed(key), spec.clone())));
    }
    after
}

/// The names of the fragments of all nodes that are not the same in both: `<node> <noun>/<scope>`.
fn different(before: &Compiled, after: &Compiled) -> BTreeSet<String> {
    let all = |compiled: &Compiled| -> BTreeMap<String, String> {
        let fragments = |(node, plan): (&String, &CompiledPlan)| {
            split(&plan.scopes).into_iter().map(|(name, json)| (format!("{node} {name}"), json)).collect::<Vec<_>>()
        };
        compiled.plans.iter().flat_map(fragments).collect()
    };
    let (before, after) = (all(before), all(after));
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Guests are kept from every site's prefixes, so those who have guests learn of every site: that one list is all.
fn but_for_barred(compiled: &Compiled) -> Compiled {
    let mut compiled = compiled.clone();
    let scopes = compiled.plans.values_mut().flat_map(|plan| plan.scopes.values_mut());
    let tables = scopes.flat_map(|objects| &mut Arc::make_mut(objects).nft_tables);
    for rule in tables.flat_map(|one| &mut one.rules) {
        if let NftRule::Segment { barred, .. } = rule {
            barred.clear();
        }
    }
    compiled
}

fn anchors_of(inventory: &Inventory, site: &str) -> BTreeSet<String> {
    inventory.sites.get(site).map(|spec| spec.anchors.iter().cloned().collect()).unwrap_or_default()
}

fn barred_differ(before: &Inventory, name: &str) -> bool {
    before.vlans.values().any(|vlan| vlan.treatment == SegmentTreatment::Guest) && name.ends_with(" nft_tables/node")
}

/// The objects of `inventory` as a person would have written them.
fn objects(inventory: &Inventory) -> Vec<AnyObject> {
    macro_rules! of {
        ($($field:ident $kind:ident),*) => {
            [$(inventory.$field.iter().map(|(key, spec)| {
                let (site, name) = key.split_once('/').map_or((None, key.as_str()), |(site, name)| (Some(site), name));
                AnyObject::$kind(Object::new(site, name, spec.clone()))
            }).collect::<Vec<_>>()),*].concat()
        };
    }
    of!(fabrics Fabric, anchors Anchor, sites Site, uplinks Uplink, vlans Vlan, traffic_policies TrafficPolicy,
        modes Mode, overrides Override)
}

/// Lists whose order says nothing, the other way round.
fn listed_backwards(mut inventory: Inventory) -> Inventory {
    for fabric in inventory.fabrics.values_mut() {
        fabric.operators.reverse();
        fabric.guests_denied.reverse();
    }
    for anchor in inventory.anchors.values_mut() {
        anchor.endpoints.reverse();
    }
    for site in inventory.sites.values_mut() {
        site.prefixes.reverse();
        site.management_ports.reverse();
    }
    inventory.vlans.values_mut().for_each(|vlan| vlan.reaches.reverse());
    for policy in inventory.traffic_policies.values_mut() {
        policy.sites.reverse();
        policy.matches.iter_mut().for_each(|one| one.ports.reverse());
    }
    inventory.modes.values_mut().for_each(|mode| mode.sites.reverse());
    inventory
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Also of another site whose prefixes come free: it comes in, and moves nobody either.
    #[test]
    fn a_change_of_one_site_changes_that_site_and_what_its_anchors_know_of_it(
        inventory in random::inventory(),
        site in site_name(),
        change in change(),
    ) {
        let mut compiler = Compiler::default();
        let before = compiler.compile(&inventory);
        let after = changed(&Inventory { allocations: before.allocations.clone(), ..inventory.clone() }, site, &change);
        let anchors: BTreeSet<String> = anchors_of(&inventory, site).union(&anchors_of(&after, site)).cloned().collect();
        let alone = compile(&after);
        let after = compiler.compile(&after);
        prop_assert!(after == alone, "what was compiled before shows in {:?}", different(&after, &alone));
        for (node, plan) in &before.plans {
            for (scope, objects) in &plan.scopes {
                let now = after.plans.get(node).and_then(|plan| plan.scopes.get(scope));
                prop_assert!(now.is_none_or(|now| now != objects || Arc::ptr_eq(now, objects)), "{} {} was made anew", node, scope);
            }
        }

        for (name, number) in &before.allocations.nodes {
            let now = after.allocations.nodes.get(name);
            prop_assert!(now == Some(number) || name == site && now.is_none(), "{} had {} and has {:?}", name, number, now);
        }
        prop_assert!(numbers_are_unique(&after.allocations));
        prop_assert_eq!(&after.allocations.anchors, &before.allocations.anchors);
        for name in before.plans.keys().filter(|name| *name != site) {
            prop_assert!(after.plans.contains_key(name), "{} has lost its plan", name);
        }
        // The first service brings a class, which every node knows; a site that comes in after another is a change of its own.
        let classes = |compiled: &Compiled| compiled.allocations.classes.clone();
        let came_in = after.plans.keys().any(|name| name != site && !before.plans.contains_key(name));
        if classes(&before) != classes(&after) || came_in {
            return Ok(());
        }
        for name in different(&before, &after) {
            let (node, fragment) = name.split_once(' ').unwrap();
            let scope = fragment.rsplit_once('/').unwrap().1;
            let own = node == site || anchors.contains(node) && (scope == "node" || scope == site);
            prop_assert!(own || barred_differ(&inventory, &name), "{} is different", name);
        }
        for name in different(&but_for_barred(&before), &but_for_barred(&after)) {
            let node = name.split_once(' ').unwrap().0;
            prop_assert!(node == site || anchors.contains(node), "{} is different beyond what guests are kept from", name);
        }
    }

    #[test]
    fn the_order_of_documents_and_of_lists_makes_no_difference(
        (inventory, shuffled) in random::inventory().prop_flat_map(|inventory| {
            let all = objects(&listed_backwards(inventory.clone()));
            (Just(inventory), Just(all).prop_shuffle())
        }),
    ) {
        let text = shuffled.iter().map(manifest::to_yaml).collect::<Vec<_>>().join("---\n");
        let read = manifest::parse(&text, "shuffled.yaml");
        let read = read.map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let mut again = Inventory { identities: inventory.identities.clone(), ..Inventory::default() };
        read.into_iter().for_each(|located| again.insert(located.object));
        let (again, once) = (compile(&again), compile(&inventory));
        prop_assert_eq!(&again.diagnostics, &once.diagnostics);
        prop_assert_eq!(&again.allocations, &once.allocations);
        prop_assert!(again.plans == once.plans, "{:?}", different(&again, &once));
    }
}

/// What a person does in one go, and which of the fragments are then written anew.
type SmallChange = (&'static str, fn(&mut Inventory), &'static [&'static str]);

const SMALL_CHANGES: &[SmallChange] = &[
    ("nothing", |_| {}, &[]),
    ("an uplink gets dearer and keeps its place", |all| uplink(all, "rv-07/cellular").cost = 31, &["rv-07 paths/node"]),
    (
        "an uplink becomes the preferred one",
        |all| uplink(all, "rv-07/cellular").cost = 5,
        &["rv-07 paths/node", "rv-07 routes/node", "rv-07 steering/node"],
    ),
    (
        // In a slot that another site uses as well.
        "an uplink goes",
        |all| drop(all.uplinks.remove("rv-07/starlink")),
        &[
            // The slot's tunnel is as large as its largest site takes, which was this one.
            "chi-a links/node",
            "chi-a remotes/rv-07",
            "chi-a routes/rv-07",
            "chi-a wireguard_peers/rv-07",
            "dal-a links/node",
            "dal-a remotes/rv-07",
            "dal-a routes/rv-07",
            "dal-a wireguard_peers/rv-07",
            "rv-07 addresses/node",
            "rv-07 dhcp/node",
            "rv-07 links/node",
            "rv-07 neighbours/node",
            "rv-07 netns/node",
            "rv-07 nft_tables/node",
            "rv-07 paths/node",
            "rv-07 programs/node",
            "rv-07 remotes/node",
            "rv-07 routes/node",
            "rv-07 rules/node",
            "rv-07 steering/node",
            "rv-07 sysctls/node",
            "rv-07 wireguard_devices/node",
            "rv-07 wireguard_peers/node",
        ],
    ),
    (
        "a site gets a prefix",
        |all| all.sites.get_mut("yacht-2").unwrap().prefixes.push("172.16.21.0/24".parse().unwrap()),
        &[
            // What it may not send from elsewhere.
            "chi-a nft_tables/node",
            "chi-a prefixes/yacht-2",
            "chi-a routes/yacht-2",
            "dal-a prefixes/yacht-2",
            "dal-a routes/yacht-2",
            "yacht-2 prefixes/node",
        ],
    ),
    (
        // Only one uplink asks for IPv6.
        "an anchor loses its IPv6 address",
        |all| all.anchors.get_mut("chi-a").unwrap().endpoints.truncate(1),
        &["clinic-3 wireguard_peers/node"],
    ),
    (
        "all copy onto two paths",
        |all| all.modes.get_mut("fleet").unwrap().copies = 2,
        &["clinic-3 steering/node", "rv-07 steering/node", "yacht-2 steering/node"],
    ),
];

fn uplink<'a>(all: &'a mut Inventory, key: &str) -> &'a mut UplinkSpec {
    all.uplinks.get_mut(key).unwrap()
}

#[test]
fn a_small_change_is_a_few_small_fragments() {
    let mut inventory = case::inventory("fleet");
    let before = compile(&inventory);
    inventory.allocations = before.allocations.clone();
    let mut unexpected = Vec::new();
    for (what, change, expected) in SMALL_CHANGES {
        let mut changed = inventory.clone();
        change(&mut changed);
        let written = different(&before, &compile(&changed));
        if !written.iter().eq(*expected) {
            unexpected.push(format!("{what}: {written:#?}"));
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    let all: usize = before.plans.values().map(|plan| split(&plan.scopes).len()).sum();
    assert_eq!(all, 102, "of so many");
}

/// A site of `random::inventory`'s, or one that it never has.
fn site_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select([&random::SITES[..], &["aaa", "zulu"]].concat())
}
