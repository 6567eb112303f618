//! The shim: its programs are where packets pass, and its addresses are assigned nowhere.

use std::net::IpAddr;

use pathsteer_crds::ownership::{HOST, SHIM_LINK, SHIM_PEER};
use pathsteer_crds::plan::{Behind, LinkKind, Program, ProgramSpec, Role};

use super::View;

pub(super) fn check(view: &mut View<'_>) {
    endpoints(view);
    programs(view);
    one_sequence_per_packet(view);
    prefixes(view);
}

/// An assigned shim endpoint loses every packet: its own source looks like a martian.
fn endpoints(view: &mut View<'_>) {
    let [datapath] = view.plan.datapath.as_slice() else {
        return view.finding("NoShim", "datapath".to_owned(), "a plan has exactly one");
    };
    if datapath.role != view.role || datapath.netns != view.clear_netns() {
        view.finding("NoShim", "datapath".to_owned(), "is not where the packets of this role are in clear");
    }
    let remotes = view.plan.remotes.iter().map(|remote| remote.address);
    for endpoint in remotes.chain([datapath.address]) {
        if !view.overlay.contains(&endpoint) {
            view.finding("NoShim", format!("shim endpoint {endpoint}"), "lies outside the overlay");
        }
        let assigned = view.plan.addresses.iter().filter(|own| own.address.addr() == IpAddr::V4(endpoint));
        for own in assigned {
            let object = format!("address {}/{} {}", own.netns, own.link, own.address);
            view.finding("EndpointAssigned", object, "a shim endpoint must not be assigned to an interface");
        }
    }
}

/// Everything that leaves the shim pair is shimmed, everything that comes from a tunnel is looked at.
fn programs(view: &mut View<'_>) {
    let netns = view.clear_netns();
    let ingress = |program: Program, link: &str, slot: u8| ProgramSpec {
        netns: netns.to_owned(),
        link: link.to_owned(),
        program,
        slot,
    };
    if !view.plan.programs.contains(&ingress(Program::Encap, SHIM_PEER, 0)) {
        view.finding("NoProgram", format!("link {netns}/{SHIM_PEER}"), "adds no shim");
    }
    let decap = match view.role {
        Role::Edge => Program::DecapEthernet,
        Role::Anchor => Program::DecapIp,
    };
    // The links of the clear namespace by which shimmed packets come in.
    let carriers = view.plan.links.iter().filter(|link| link.netns == netns).filter(|link| match &link.kind {
        LinkKind::Veth { peer_netns, .. } => ![netns, HOST].contains(&peer_netns.as_str()),
        LinkKind::Tunnel => true,
        LinkKind::Loopback | LinkKind::Nic | LinkKind::Vlan { .. } => false,
    });
    for link in carriers {
        let attached = view.plan.programs.iter().any(|one| {
            one.netns == netns && one.link == link.name && one.program == decap && (1..=8).contains(&one.slot)
        });
        if !attached {
            let message = "takes no shim off: copies would be delivered twice, and anything would be let in";
            view.finding("NoProgram", format!("link {netns}/{}", link.name), message);
        }
    }
}

/// Segments of one packet would share one sequence number, and all but the first be dropped as copies.
fn one_sequence_per_packet(view: &mut View<'_>) {
    let netns = view.clear_netns();
    if view.link(netns, SHIM_LINK).is_none_or(|link| link.gso_max_segs != Some(1)) {
        view.finding("SegmentsShareSequence", format!("link {netns}/{SHIM_LINK}"), "must have gso_max_segs 1");
    }
}

fn prefixes(view: &mut View<'_>) {
    for prefix in &view.plan.prefixes {
        if let Behind::Remote(remote) = prefix.behind
            && !view.plan.remotes.iter().any(|one| one.id == remote)
        {
            let message = format!("lies behind node {remote}, which is no remote of the plan");
            view.finding("NothingThere", format!("prefix {}", prefix.prefix), message);
        }
        if view.in_overlay(&prefix.prefix) && prefix.behind != Behind::Nowhere {
            let message = "overlay addresses are never inside the shim";
            view.finding("OverlayInside", format!("prefix {}", prefix.prefix), message);
        }
    }
}
