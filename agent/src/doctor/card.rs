//! The plan's network cards: whether they are there, and free to be taken.

use pathsteer_agent_core::{is_card, ownership::is_owned_link};
use pathsteer_crds::{
    ownership::{HOST, HOST_VETH, PREFIX, in_place_veth},
    plan::LinkSpec,
};

use super::{
    Finding, Known,
    home::{Home, Link},
    or_well,
};

/// Interfaces in the node's own namespace that are called as ours are.
pub fn names(home: &Home) -> Vec<Finding> {
    let what = "no foreign interface with our prefix";
    // ours there are known by their MACs, too (`operator/compiler/src/link.rs`)
    let is_ours = |link: &Link| {
        let in_place = (1..=8).map(|slot| (in_place_veth(slot).0, slot));
        let mut all = in_place.chain([(HOST_VETH.0.to_owned(), 0)]);
        all.any(|(name, slot)| link.name == name && link.mac == Some(format!("02:70:73:03:00:{slot:02x}")))
    };
    let foreign = home.own().links.iter().filter(|link| link.name.starts_with(PREFIX) && !is_ours(link));
    let findings = foreign.map(|link| {
        let name = &link.name;
        if is_owned_link(HOST, name) {
            let remedy = format!("rename it: ip link set {name} name …; the agent takes it for its own, and away");
            return Finding::failure(format!("foreign interface {name}"), remedy);
        }
        let remedy = format!("rename it: ip link set {name} name …; `{PREFIX}` marks PathSteer's own");
        Finding::warning(format!("foreign interface {name}"), remedy)
    });
    or_well(what, findings.collect())
}

/// Whether each of the plan's cards is there.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let mut findings: Vec<Finding> = known.taken().filter_map(|spec| of_card(spec, home)).collect();
    for (card, _) in in_place(known) {
        if home.own().link(&card).is_none() {
            let remedy = "plug it in, or correct the Uplink's interface; until then this uplink has no way";
            findings.push(Finding::failure(format!("card {card}, to stay where it is"), remedy));
        }
    }
    or_well("the plan's network cards", findings)
}

fn of_card(spec: &LinkSpec, home: &Home) -> Option<Finding> {
    let what = format!("card {}", described(spec));
    if home.places.iter().any(|place| place.netns == spec.netns && place.link(&spec.name).is_some()) {
        return None;
    }
    let Some(link) = find(spec, home) else {
        let remedy =
            "plug it in, or correct the interface in its Uplink, Vlan or Anchor; `ip link` lists what is there";
        return Some(Finding::failure(what, remedy));
    };
    let master = link.master.as_ref()?;
    let name = &link.name;
    let remedy = format!(
        "ip link set {name} nomaster, and take it out of {master}'s configuration: the agent takes it from there"
    );
    Some(Finding::warning(format!("{what} belongs to {master}"), remedy))
}

/// The card of `spec` as it is at home.
pub fn find<'a>(spec: &LinkSpec, home: &'a Home) -> Option<&'a Link> {
    let mut links = home.own().links.iter();
    match &spec.card {
        Some(card) if card.mac.is_some() || card.bus.is_some() => {
            links.find(|link| link.is_hardware && is_card(card, &link.identity))
        }
        _ => links.find(|link| link.name == spec.name),
    }
}

fn described(spec: &LinkSpec) -> String {
    match &spec.card {
        Some(card) => card.mac.clone().or_else(|| card.bus.clone()).unwrap_or_else(|| spec.name.clone()),
        None => spec.name.clone(),
    }
}

/// Cards that stay in the node's own namespace, each with our end of the veth to its uplink.
pub fn in_place(known: &Known) -> Vec<(String, String)> {
    let routes = known.plan.objects.routes.iter().filter(|route| route.netns == HOST);
    let pairs = routes.filter_map(|route| {
        let veth =
            known.plan.objects.rules.iter().find(|rule| {
                rule.netns == HOST && rule.action == pathsteer_crds::plan::RuleAction::Table(route.table)
            })?;
        Some((route.while_host_default.clone()?, veth.iif.clone()?))
    });
    pairs.collect()
}
