//! Networks that the node has and that the plan has, too.

use ipnet::IpNet;
use pathsteer_agent_core::ownership::is_owned_link;
use pathsteer_crds::{
    ownership::HOST,
    plan::{NodePlan, RouteKind, RouteSpec},
};

use super::{Finding, Known, card, home::Home, or_well};

/// A network of the plan, and what it is.
type Planned = (IpNet, &'static str);

/// Compares every network that a link has with those of the plan.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let planned = planned(&known.plan);
    let ways: Vec<String> =
        known.taken().filter(|spec| is_way_out(known, &spec.netns)).map(|spec| spec.name.clone()).collect();
    let taken: Vec<String> =
        known.taken().filter_map(|spec| card::find(spec, home)).map(|link| link.name.clone()).collect();
    let in_place: Vec<String> = card::in_place(known).into_iter().map(|(card, _)| card).collect();
    let mut findings = Vec::new();
    for place in &home.places {
        for (link, network) in &place.networks {
            let is_way = ways.contains(link) || place.netns == HOST && in_place.contains(link);
            let is_card = place.netns == HOST && taken.contains(link);
            if is_owned_link(HOST, link) || !(is_way || place.netns == HOST) || is_card && !is_way {
                continue;
            }
            let clash = planned.iter().filter(|(other, _)| overlap(network, other));
            // a way to the internet has only to keep clear of what is blackholed there
            let clash: Vec<&Planned> = clash.filter(|(_, what)| !is_way || *what == OVERLAY).collect();
            findings.extend(clash.into_iter().map(|(other, what)| {
                let found = format!("{link} has {network}, {what} {other}");
                if is_way {
                    let remedy =
                        "choose another Fabric.overlay: what this uplink's own network has there is not reached";
                    return Finding::failure(found, remedy);
                }
                Finding::warning(found, "give one of them another network: the node reaches only its own there")
            }));
        }
    }
    findings.sort();
    findings.dedup();
    or_well("no network of the node is the plan's, too", findings)
}

const OVERLAY: &str = "in the overlay";

fn planned(plan: &NodePlan) -> Vec<Planned> {
    let objects = &plan.objects;
    let is_overlay = |route: &&RouteSpec| {
        route.kind == RouteKind::Blackhole && route.destination.prefix_len() > 0 && route.netns != HOST
    };
    let mut all: Vec<Planned> =
        objects.routes.iter().filter(is_overlay).map(|route| (route.destination, OVERLAY)).collect();
    // Our veths have link-local addresses, tunnels are where no shim is.
    let is_local = |address: &IpNet| match address {
        IpNet::V4(v4) => v4.addr().is_link_local(),
        IpNet::V6(v6) => v6.addr().is_unicast_link_local(),
    };
    let inside = |netns: &str| objects.datapath.iter().any(|shim| shim.netns == netns);
    let segments = objects.addresses.iter().filter(|one| inside(&one.netns) && !is_local(&one.address));
    let of_segment =
        segments.map(|address| (address.address.trunc(), if address.link == "lo" { VIP } else { SEGMENT }));
    all.extend(of_segment);
    all.sort();
    all.dedup();
    all
}

const VIP: &str = "with the site's own address";
const SEGMENT: &str = "as a segment of the plan has";

/// Whether `netns` is not where the shim is: cards there lead out.
fn is_way_out(known: &Known, netns: &str) -> bool {
    known.plan.objects.datapath.iter().all(|shim| shim.netns != netns)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(overlap(&net("172.16.0.0/12"), &net("172.17.0.0/16")));
        assert!(overlap(&net("10.1.0.0/24"), &net("10.0.0.0/8")));
        assert!(!overlap(&net("10.1.0.0/24"), &net("10.1.1.0/24")));
        assert!(!overlap(&net("::/0"), &net("10.0.0.0/8")), "another family");
    }
}
