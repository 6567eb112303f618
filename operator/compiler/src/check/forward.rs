//! Borders: what is forwarded between links, and what a node takes for itself. Everything else is dropped.

use pathsteer_crds::ownership::{SHIM_LINK, SHIM_PEER};
use pathsteer_crds::plan::{FlowTo, LinkKind, LinkSpec, NftRule, Only, PolicySet, Role, Welcome};

use super::View;
use super::segment::segments;

pub(super) fn check(view: &mut View<'_>) {
    for netns in &view.plan.netns {
        if links(view, &netns.name).next().is_some() && pairs(view, &netns.name).is_empty() {
            let message = "no nft rule says what it forwards, so it forwards everything";
            view.finding("ForwardOpen", format!("netns {}", netns.name), message);
        }
    }
    match view.role {
        Role::Edge => edge(view),
        Role::Anchor => anchor(view),
    }
}

/// Links of a namespace by which packets come from elsewhere.
fn links<'a>(view: &View<'a>, netns: &str) -> impl Iterator<Item = &'a LinkSpec> {
    view.plan.links.iter().filter(move |link| {
        let within = matches!(&link.kind, LinkKind::Veth { peer_netns, .. } if *peer_netns == link.netns);
        link.netns == netns && link.kind != LinkKind::Loopback && !within
    })
}

type Pair<'a> = (&'a str, &'a str, Option<Only>);

fn pairs<'a>(view: &View<'a>, netns: &str) -> Vec<Pair<'a>> {
    view.nft(netns)
        .filter_map(|rule| match rule {
            NftRule::Forward { from, to, only } => Some((from.as_str(), to.as_str(), *only)),
            _ => None,
        })
        .collect()
}

fn edge(view: &mut View<'_>) {
    let clear = view.clear_netns();
    let mut needed: Vec<(String, String, Option<Only>)> = Vec::new();
    let veths: Vec<&str> = view.slot_links().into_values().collect();
    for veth in &veths {
        needed.push((SHIM_PEER.to_owned(), (*veth).to_owned(), None));
        protected(view, clear, veth, &[Welcome::Shimmed]);
    }
    for segment in segments(view).iter().filter(|segment| segment.inside) {
        needed.push((segment.link.to_owned(), SHIM_LINK.to_owned(), None));
        let back = veths.iter().map(|veth| ((*veth).to_owned(), segment.link.to_owned(), Some(Only::Shimmed)));
        needed.extend(back);
    }
    all_there(view, clear, &needed);
    for (from, to, only) in pairs(view, clear) {
        if veths.contains(&from) && only.is_none() {
            let message = "lets anyone on the internet in who sends to that uplink";
            view.finding("WanLetIn", format!("forward {clear} {from} {to}"), message);
        }
        let in_tunnel = |rule: &NftRule| match rule {
            NftRule::Segment { link, policies, default, .. } => {
                link == from && *default != FlowTo::Direct && *policies != Some(PolicySet::Mixed)
            }
            _ => false,
        };
        if veths.contains(&to) && view.nft(clear).any(in_tunnel) {
            let message = "leads a segment whose flows stay in a tunnel around the shim";
            view.finding("LeavesInClear", format!("forward {clear} {from} {to}"), message);
        }
    }
    for veth in veths {
        if let Some(LinkKind::Veth { peer_netns, peer }) = view.link(clear, veth).map(|link| &link.kind) {
            uplink(view, peer_netns, peer);
        }
    }
}

/// Between the veth and each tunnel everything passes; nothing between a tunnel and the WAN.
fn uplink(view: &mut View<'_>, netns: &str, veth: &str) {
    protected(view, netns, veth, &[]);
    let mut needed = Vec::new();
    let mut tunnels = Vec::new();
    let all: Vec<&LinkSpec> = links(view, netns).collect();
    for link in all.into_iter().filter(|link| link.kind == LinkKind::Tunnel) {
        tunnels.push(link.name.as_str());
        protected(view, netns, &link.name, &[Welcome::Diagnostics]);
        needed.push((veth.to_owned(), link.name.clone(), None));
        needed.push((link.name.clone(), veth.to_owned(), None));
    }
    all_there(view, netns, &needed);
    for (from, to, only) in pairs(view, netns) {
        let object = format!("forward {netns} {from} {to}");
        if view.is_nic(netns, to) && (tunnels.contains(&from) || view.is_nic(netns, from)) {
            view.finding("LeavesInClear", object.clone(), "leads what came by a tunnel or a WAN out to the WAN");
        }
        if view.is_nic(netns, from) && (to != veth || only != Some(Only::Established)) {
            view.finding("WanLetIn", object, "lets in what nobody inside has asked for");
        }
    }
}

fn anchor(view: &mut View<'_>) {
    let clear = view.clear_netns();
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned(), None);
    let mut needed = Vec::new();
    let tunnels: Vec<&str> = view.slot_links().into_values().collect();
    let cards: Vec<&LinkSpec> = links(view, clear).filter(|link| link.kind == LinkKind::Nic).collect();
    for card in &cards {
        needed.push(pair(&card.name, SHIM_LINK));
        needed.extend(tunnels.iter().map(|tunnel| pair(tunnel, &card.name)));
        protected(view, clear, &card.name, &[Welcome::Diagnostics]);
    }
    for tunnel in &tunnels {
        needed.push(pair(tunnel, SHIM_LINK));
        needed.push(pair(SHIM_PEER, tunnel));
        protected(view, clear, tunnel, &[Welcome::Diagnostics]);
    }
    all_there(view, clear, &needed);
    for (from, to, _) in pairs(view, clear) {
        let object = format!("forward {clear} {from} {to}");
        if from != SHIM_PEER && tunnels.contains(&to) {
            view.finding("LeavesInClear", object, "leads into a tunnel without the shim");
        }
    }
    pools(view);
}

/// Neighbours ask for every address of a pool that lies in the interface's network: somebody must answer.
fn pools(view: &mut View<'_>) {
    for rule in view.nft(view.clear_netns()) {
        let NftRule::Snat { link, pool, .. } = rule else { continue };
        let own: Vec<_> = view.plan.addresses.iter().filter(|own| own.link == *link).map(|own| own.address).collect();
        let near = pool.iter().filter(|network| {
            own.iter().any(|own| own.prefix_len() < own.max_prefix_len() && own.trunc().contains(*network))
        });
        for address in near.flat_map(|network| [network.network(), network.broadcast()]) {
            if !own.iter().any(|own| own.addr() == address) {
                view.finding(
                    "PoolNotAssigned",
                    format!("link {link}"),
                    format!("answers nobody who asks for {address}"),
                );
            }
        }
    }
}

fn all_there(view: &mut View<'_>, netns: &str, needed: &[(String, String, Option<Only>)]) {
    let there = pairs(view, netns);
    for (from, to, only) in needed {
        if !there.contains(&(from.as_str(), to.as_str(), *only)) {
            let message = "is on the way of packets that are wanted, but not forwarded";
            view.finding("NotForwarded", format!("forward {netns} {from} {to}"), message);
        }
    }
}

/// What comes from a tunnel or a WAN finds no other service of the node than these.
fn protected(view: &mut View<'_>, netns: &str, link: &str, welcome: &[Welcome]) {
    let wanted = NftRule::Protect { link: link.to_owned(), welcome: welcome.to_vec() };
    if !view.nft(netns).any(|rule| *rule == wanted) {
        let message = format!("the node takes more from it than {welcome:?}");
        view.finding("NotProtected", format!("link {netns}/{link}"), message);
    }
}
