//! What of a plan decides how the node reaches others: its WANs. A mistake in it takes the operator away, and with it the
//! one who could put it right.

use pathsteer_crds::canonical;
use pathsteer_crds::ownership::{HOST, HOST_VETH, is_uplink_netns};
use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects, RouteKind};

/// The name (SHA-256) of the underlay of `plan`: of its cards, how they get addresses, and what it does in the node's own
/// namespace. Two plans of one name reach others in the same way.
pub fn underlay(plan: &PlanObjects) -> String {
    let faces_wan = |link: &&LinkSpec| {
        is_uplink_netns(&link.netns) && (link.kind == LinkKind::Nic || is_in_place(link))
            || is_lent(&link.netns, &link.name)
    };
    let links: Vec<LinkSpec> = plan.links.iter().filter(faces_wan).cloned().collect();
    let on_one = |netns: &str, name: &str| links.iter().any(|link| (&*link.netns, &*link.name) == (netns, name));
    let routes = plan.routes.iter().filter(|route| match &route.kind {
        RouteKind::Unicast { link, .. } => on_one(&route.netns, link) || is_lent(&route.netns, link),
        RouteKind::Blackhole => route.netns == HOST,
    });
    let wan = PlanObjects {
        lent_sysctls: plan.lent_sysctls.clone(),
        addresses: plan.addresses.iter().filter(|one| on_one(&one.netns, &one.link)).cloned().collect(),
        dhcp: plan.dhcp.clone(),
        routes: routes.cloned().collect(),
        rules: plan.rules.iter().filter(|rule| rule.netns == HOST).cloned().collect(),
        nft_tables: plan.nft_tables.iter().filter(|table| table.netns == HOST).cloned().collect(),
        links,
        ..PlanObjects::default()
    };
    canonical::sha256(canonical::to_json(&wan).as_bytes())
}

/// Of what the node's own namespace has of ours; the way out that it is given itself is not our way to anybody.
fn is_lent(netns: &str, link: &str) -> bool {
    netns == HOST && link != HOST_VETH.0
}

fn is_in_place(link: &LinkSpec) -> bool {
    matches!(&link.kind, LinkKind::Veth { peer_netns, .. } if peer_netns == HOST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bootstrap_plan;

    fn plan(uplinks: &[(u8, &str)]) -> PlanObjects {
        let uplinks: BTreeMap<u8, String> = uplinks.iter().map(|(slot, card)| (*slot, (*card).to_owned())).collect();
        bootstrap_plan("rv-07", &uplinks).objects
    }

    #[test]
    fn another_card_another_slot_and_another_way_to_an_address_are_another_underlay() {
        let one = underlay(&plan(&[(1, "wan1"), (2, "wan2")]));
        assert_eq!(one, underlay(&plan(&[(1, "wan1"), (2, "wan2")])));
        for other in [plan(&[(1, "wan1")]), plan(&[(1, "wan1"), (3, "wan2")]), plan(&[(1, "wan1"), (2, "wan9")])] {
            assert_ne!(one, underlay(&other));
        }
        let mut fixed = plan(&[(1, "wan1"), (2, "wan2")]);
        fixed.dhcp.pop();
        assert_ne!(one, underlay(&fixed));
    }

    #[test]
    fn what_happens_inside_the_node_is_no_underlay() {
        let mut inside = plan(&[(1, "wan1")]);
        let before = underlay(&inside);
        inside.links.push(LinkSpec::new("psvip", "lan0", LinkKind::Nic));
        let to_vip = LinkKind::Veth { peer_netns: "psvip".to_owned(), peer: "psh".to_owned() };
        inside.links.push(LinkSpec::new("", "psh0", to_vip));
        inside.links.push(LinkSpec::new("psup1", "psw1a1", LinkKind::Tunnel));
        inside.paths[0].cost = 7;
        assert_eq!(underlay(&inside), before);
    }
}
