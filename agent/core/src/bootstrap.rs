//! The plan before the first plan: a way to the operator by every uplink, and one for the node itself.

use std::collections::BTreeMap;

use pathsteer_crds::Interface;
use pathsteer_crds::ownership::{DIRECT_TABLE, HOST_VETH, VIP_NETNS, path_table, uplink_netns, uplink_veth};
use pathsteer_crds::plan::{
    DhcpSpec, Family, FlowTo, LinkKind, LinkSpec, NftRule, NftTableSpec, NodePlan, Only, PLAN_VERSION, PathSpec,
    PlanObjects, Role, Welcome,
};
use pathsteer_crds::plumbing::{self, BACKUP, PINNED, PREFERRED};

/// A plan for `node` that takes each uplink (interface by slot) into its namespace and configures it by DHCP, the
/// lower slot preferred, and leads the node itself out by them. It makes of an uplink what the compiler makes of it, so
/// that the first real plan interrupts nothing. Ordered before every real plan: store epoch 0, generation 0.
pub fn bootstrap_plan(node: &str, uplinks: &BTreeMap<u8, String>) -> NodePlan {
    let mut objects = PlanObjects::default();
    for (&slot, interface) in uplinks {
        uplink(slot, interface, &mut objects);
    }
    if !uplinks.is_empty() {
        home(uplinks, &mut objects);
    }
    objects.sort();
    NodePlan { version: PLAN_VERSION, node: node.to_owned(), role: Role::Edge, store_epoch: 0, generation: 0, objects }
}

fn uplink(slot: u8, interface: &str, plan: &mut PlanObjects) {
    let netns = uplink_netns(slot);
    plumbing::uplink_namespace(slot, plan);
    let card = Interface::parse(interface).unwrap_or(Interface::Name(interface));
    let link = card.link(slot);
    plan.links.push(LinkSpec { card: card.card(false), ..LinkSpec::new(&netns, &link, LinkKind::Nic) });
    plan.dhcp.push(DhcpSpec { netns: netns.clone(), link: link.clone(), slot, ipv4: true, ipv6: false });
    plumbing::uplink_pair(slot, None, plan);
    for family in Family::BOTH {
        // After those of a plan, should the node have had one: this one does not know which uplink is preferred.
        plan.routes.push(plumbing::direct(slot, DIRECT_TABLE, BACKUP + u32::from(slot), family));
        plan.routes.push(plumbing::direct(slot, path_table(slot, PINNED), PREFERRED, family));
    }
    let veth = uplink_veth(slot).1;
    let rules = vec![
        NftRule::forward(veth, &link, None),
        NftRule::forward(&link, veth, Some(Only::Established)),
        NftRule::Masquerade { from: veth.to_owned(), link },
        NftRule::Protect { link: veth.to_owned(), welcome: Vec::new() },
    ];
    plan.nft_tables.push(table(&netns, rules));
    let (name, cost) = (interface.to_owned(), u16::from(slot));
    plan.paths.push(PathSpec { slot, name, netns, cost, metered: false, resolvers: Vec::new() });
}

/// The node's own way out: straight to the internet, by whichever uplink has one.
fn home(uplinks: &BTreeMap<u8, String>, plan: &mut PlanObjects) {
    let link = HOST_VETH.1;
    plumbing::namespace(VIP_NETNS, plan);
    plumbing::host_pair(plan);
    for family in Family::BOTH {
        plumbing::direct_rules(uplinks.keys().copied(), family, plan);
        plan.rules.push(plumbing::outside_rule(link, family));
        plan.routes.push(plumbing::direct_end(family));
        plan.routes.push(plumbing::host_way(family.everything()));
    }
    let networks = plumbing::host_networks().map(|[_, ours]| ours.trunc());
    for slot in uplinks.keys() {
        plan.routes.extend(networks.map(|network| plumbing::answers(*slot, network)));
    }
    let (sources, link) = (networks.to_vec(), link.to_owned());
    let mut rules =
        vec![NftRule::Segment { link, sources, barred: Vec::new(), policies: None, default: FlowTo::Direct }];
    rules.extend(uplinks.keys().flat_map(|&slot| {
        let veth = uplink_veth(slot).0;
        [
            NftRule::Direct { slot, link: veth.clone() },
            NftRule::ClampMss { link: veth.clone() },
            NftRule::forward(HOST_VETH.1, &veth, None),
            NftRule::forward(&veth, HOST_VETH.1, Some(Only::Established)),
            NftRule::Protect { link: veth, welcome: vec![Welcome::Shimmed] },
        ]
    }));
    plan.nft_tables.push(table(VIP_NETNS, rules));
}

/// Where the node has lost its plan and not its kernel, what the plan has made serves others too.
fn table(netns: &str, rules: Vec<NftRule>) -> NftTableSpec {
    NftTableSpec { if_absent: true, ..NftTableSpec::new(netns, rules) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pathsteer_crds::plan::{NetnsSpec, RouteSpec};

    use crate::{Sweep, changes, names, not_as_declared};

    #[test]
    fn every_uplink_gets_its_namespace_its_card_and_dhcp_and_the_lower_slot_is_preferred() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned()), (4, "wwan0".to_owned())]));
        let objects = &plan.objects;
        assert_eq!(plan.order(), (0, 0), "before every real plan");
        assert_eq!(objects.netns.iter().map(|n| &*n.name).collect::<Vec<_>>(), ["psup1", "psup4", "psvip"]);
        let cards = objects.links.iter().filter(|link| link.kind == LinkKind::Nic);
        assert_eq!(cards.map(|l| (&*l.netns, &*l.name)).collect::<Vec<_>>(), [("psup1", "wan1"), ("psup4", "wwan0")]);
        assert_eq!(objects.dhcp.iter().map(|d| (d.slot, &*d.link)).collect::<Vec<_>>(), [(1, "wan1"), (4, "wwan0")]);
        assert_eq!(objects.paths.iter().map(|p| (p.slot, p.cost)).collect::<Vec<_>>(), [(1, 1), (4, 4)]);
        assert!(objects.sysctls.iter().any(|s| s.netns == "psup4" && s.key == "net/ipv4/ip_forward" && s.value == "1"));
    }

    #[test]
    fn the_node_itself_leaves_by_any_uplink_that_has_a_way_and_never_by_a_tunnel() {
        let uplinks = BTreeMap::from([(1, "wan1".to_owned()), (4, "wwan0".to_owned())]);
        let objects = bootstrap_plan("rv-07", &uplinks).objects;
        let own: Vec<_> = objects.routes.iter().filter(|route| route.netns.is_empty()).collect();
        assert_eq!(own.iter().map(|r| (r.destination.prefix_len(), r.metric)).collect::<Vec<_>>(), [(0, 1_000_000); 2]);
        for family in Family::BOTH {
            let out = |metric| plumbing::direct([1, 4][usize::from(metric == 104)], DIRECT_TABLE, metric, family);
            assert!([101, 104].map(out).iter().all(|route| objects.routes.contains(route)), "{family:?}");
            assert!(objects.routes.contains(&plumbing::direct_end(family)), "{family:?}");
            assert!(objects.rules.contains(&plumbing::outside_rule("psh", family)), "{family:?}");
        }
        assert!(!objects.links.iter().any(|link| link.kind == LinkKind::Tunnel) && objects.programs.is_empty());
        let masks = |table: &NftTableSpec| table.rules.iter().any(|rule| matches!(rule, NftRule::Masquerade { .. }));
        let masking = objects.nft_tables.iter().filter(|table| masks(table)).map(|table| &*table.netns);
        assert_eq!(masking.collect::<Vec<_>>(), ["psup1", "psup4"]);
    }

    #[test]
    fn a_table_that_a_plan_has_made_is_as_good_as_its_own() {
        let objects = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())])).objects;
        let made = objects.nft_tables.iter().map(|table| NftTableSpec::new(&table.netns, vec![]));
        let found = PlanObjects { nft_tables: made.collect(), ..objects.clone() };
        assert_eq!(changes(&objects, &found, Sweep::Only(&names(&objects))), []);
        assert_eq!(not_as_declared(&objects, &found), []);
        let gone = PlanObjects { nft_tables: Vec::new(), ..found };
        assert_eq!(
            changes(&objects, &gone, Sweep::Only(&names(&objects))).len(),
            2,
            "but without one there has to be one"
        );
    }

    #[test]
    fn what_it_declares_no_longer_goes_and_nothing_that_others_have_declared() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())]));
        let own = names(&plan.objects);
        let ways: Vec<_> = plan.objects.routes.iter().filter(|route| route.while_default_in.is_some()).collect();
        let found = PlanObjects {
            routes: ways.iter().map(|route| RouteSpec { while_default_in: None, ..(**route).clone() }).collect(),
            netns: vec![NetnsSpec { name: "psup8".to_owned() }],
            ..PlanObjects::default()
        };
        let nothing = PlanObjects::default();
        let gone = changes(&nothing, &found, Sweep::Only(&own));
        assert_eq!(gone.len(), 4, "both tables, both families: {gone:?}");
        assert!(gone.iter().all(|change| change.object.name().starts_with("route psvip")), "{gone:?}");
    }

    #[test]
    fn a_node_without_uplinks_is_left_as_it_is() {
        assert_eq!(bootstrap_plan("anchor-1", &BTreeMap::new()).objects, PlanObjects::default());
    }

    #[test]
    fn its_lists_are_sorted_as_those_of_any_plan() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(2, "a".to_owned()), (1, "z".to_owned())]));
        let mut sorted = plan.objects.clone();
        sorted.sort();
        assert_eq!(plan.objects, sorted);
    }
}
