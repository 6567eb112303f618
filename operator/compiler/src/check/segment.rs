//! Segments of an edge: whose packets are taken, and what may become of them.

use ipnet::IpNet;
use pathsteer_crds::ownership::{DIRECT_TABLE, HOST_VETH, OUTSIDE_RULE_PRIORITY, SHIM_LINK};
use pathsteer_crds::plan::{Behind, Family, FlowTo, LinkKind, NftRule, PolicySet, Role, RuleAction, RuleSpec, Welcome};

use super::View;

/// An interface of an edge with hosts behind it.
pub(super) struct Segment<'a> {
    pub link: &'a str,
    pub networks: Vec<IpNet>,
    /// Whether the fabric carries its addresses.
    pub inside: bool,
}

/// Every card, or VLAN on a card, that has addresses where packets are in clear, and the node's own namespace.
pub(super) fn segments<'a>(view: &View<'a>) -> Vec<Segment<'a>> {
    if view.role == Role::Anchor {
        return Vec::new();
    }
    let plan = view.plan;
    let links = plan.links.iter().filter(|link| link.netns == view.clear_netns());
    let cards =
        links.filter(|link| matches!(link.kind, LinkKind::Nic | LinkKind::Vlan { .. }) || link.name == HOST_VETH.1);
    let segments = cards.map(|link| {
        let own = plan.addresses.iter().filter(|own| own.netns == link.netns && own.link == link.name);
        let networks: Vec<IpNet> = own.map(|own| own.address.trunc()).collect();
        let inside = networks.iter().any(|network| is_own(view, network));
        Segment { link: &link.name, networks, inside }
    });
    segments.filter(|segment| !segment.networks.is_empty()).collect()
}

fn is_own(view: &View<'_>, network: &IpNet) -> bool {
    let mut own = view.plan.prefixes.iter().filter(|prefix| prefix.behind == Behind::Own);
    own.any(|own| own.prefix.contains(network))
}

pub(super) fn check(view: &mut View<'_>) {
    trunks(view);
    for segment in segments(view) {
        let object = format!("segment {}", segment.link);
        let mut rules = view.nft(view.clear_netns()).filter_map(|rule| match rule {
            NftRule::Segment { link, sources, barred, policies, default } if link == segment.link => {
                Some((sources, barred, policies, default))
            }
            _ => None,
        });
        let (Some((sources, barred, policies, default)), None) = (rules.next(), rules.next()) else {
            let message = "no nft rule, or more than one, says whose packets it may send and where they go";
            view.finding("SegmentNotGuarded", object, message);
            continue;
        };
        sources_are_its_own(view, &segment, sources);
        if !segment.inside {
            outside(view, &segment, (policies, default));
        } else if *policies != Some(PolicySet::Mixed) && *default == FlowTo::Direct {
            view.finding("LeavesInClear", object.clone(), "its flows stay in a tunnel, but go direct by default");
        }
        guests(view, &segment, barred);
    }
}

/// A card without addresses of its own is there for the VLANs on it: the node takes nothing that comes without a tag.
fn trunks(view: &mut View<'_>) {
    if view.role == Role::Anchor {
        return;
    }
    let (plan, netns) = (view.plan, view.clear_netns());
    let cards = plan.links.iter().filter(|link| link.netns == netns && link.kind == LinkKind::Nic);
    for card in cards {
        let bare = !plan.addresses.iter().any(|own| own.netns == netns && own.link == card.name);
        let closed = NftRule::Protect { link: card.name.clone(), welcome: Vec::new() };
        if bare && !view.nft(netns).any(|rule| *rule == closed) {
            let message = "is no segment, but the node takes what comes by it";
            view.finding("NotProtected", format!("link {netns}/{}", card.name), message);
        }
    }
}

fn sources_are_its_own(view: &mut View<'_>, segment: &Segment<'_>, sources: &[IpNet]) {
    let object = format!("segment {}", segment.link);
    for source in sources {
        // Networks beside each other may have been put together.
        let covered = segment.networks.iter().any(|network| network.contains(source));
        let halves = || {
            source.subnets(source.prefix_len() + 1).is_ok_and(|mut halves| {
                halves.all(|half| segment.networks.iter().any(|network| network.contains(&half)))
            })
        };
        if !covered && !halves() {
            view.finding("SourceTooWide", object.clone(), format!("may send as {source}, which is not its own"));
        }
    }
    for network in &segment.networks {
        if !sources.iter().any(|source| source.contains(network)) {
            view.finding("SourceRefused", object.clone(), format!("may not send as {network}, which is its own"));
        }
    }
}

/// What the fabric does not carry never enters the shim: not by policy, not by the border, not by routing.
fn outside(view: &mut View<'_>, segment: &Segment<'_>, flows: (&Option<PolicySet>, &FlowTo)) {
    let netns = view.clear_netns();
    let object = format!("segment {}", segment.link);
    if flows != (&None, &FlowTo::Direct) {
        view.finding("EntersTunnel", object.clone(), "lies outside the fabric, but its flows look for a class");
    }
    let crosses =
        |rule: &NftRule| matches!(rule, NftRule::Forward { from, to, .. } if from == segment.link && to == SHIM_LINK);
    if view.nft(netns).any(crosses) {
        view.finding("EntersTunnel", object.clone(), "lies outside the fabric, but may be forwarded into the shim");
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let led = RuleSpec {
            netns: netns.to_owned(),
            family,
            priority: OUTSIDE_RULE_PRIORITY,
            fwmark: None,
            iif: Some(segment.link.to_owned()),
            action: RuleAction::Table(DIRECT_TABLE),
        };
        if !view.plan.rules.contains(&led) {
            let message = format!("no rule leads its {family:?} packets past the shim whatever their mark");
            view.finding("EntersTunnel", object.clone(), message);
        }
    }
}

/// Who is barred from some destinations is a guest, and kept from the fabric and the node as well.
fn guests(view: &mut View<'_>, segment: &Segment<'_>, barred: &[IpNet]) {
    let object = format!("segment {}", segment.link);
    let protected = view.nft(view.clear_netns()).any(|rule| match rule {
        NftRule::Protect { link, welcome } => link == segment.link && *welcome == [Welcome::Neighbours],
        _ => false,
    });
    if protected == barred.is_empty() {
        return view.finding("GuestNotKept", object, "guests are kept both from the node and from other networks");
    }
    let own = view.plan.prefixes.iter().filter(|prefix| prefix.behind == Behind::Own).map(|own| own.prefix);
    let denied: Vec<IpNet> = own.chain([IpNet::V4(view.overlay)]).collect();
    for network in denied.iter().filter(|_| !barred.is_empty()) {
        if !barred.iter().any(|barred| barred.contains(network)) {
            view.finding("GuestNotKept", object.clone(), format!("guests may send to {network}"));
        }
    }
}
