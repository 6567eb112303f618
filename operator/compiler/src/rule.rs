//! Rules: from the mark to the path's table.

use pathsteer_crds::Attach;
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, HOST, NO_PATH_RULE_PRIORITY, SHIM_PEER, VIP_NETNS, in_place_veth, path_rule_priority, path_table,
};
use pathsteer_crds::plan::{Family, PlanObjects, RuleAction, RuleSpec};
use pathsteer_crds::plumbing::{PINNED, direct_rules, outside_rule};

use crate::anchor::Anchor;
use crate::resolve::{Common, Resolved};
use crate::site::Site;
use crate::uplink::Uplink;
use crate::vlan::Vlan;

/// On an anchor the mark has no anchor index.
const ON_ANCHOR: u8 = 0;

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    for anchor in common.anchors_of(site) {
        plan.rules.extend(site.slots().map(|slot| path(VIP_NETNS, slot, anchor.index)));
    }
    let outside: Vec<String> = site.segments().filter(|vlan| !vlan.in_fabric()).map(Vlan::link).collect();
    for family in Family::BOTH {
        direct_rules(site.slots(), family, plan);
        plan.rules.extend(outside.iter().map(|link| outside_rule(link, family)));
    }
    no_path(VIP_NETNS, plan);
    plan.rules.extend(site.uplinks.iter().filter(|uplink| uplink.spec.attach == Attach::InPlace).map(in_place));
}

/// What comes from an uplink's namespace into the node's own leaves by that uplink's card.
fn in_place(uplink: &Uplink<'_>) -> RuleSpec {
    let slot = uplink.spec.slot;
    RuleSpec {
        netns: HOST.to_owned(),
        family: Family::Ipv4,
        priority: path_rule_priority(slot, PINNED),
        fwmark: None,
        iif: Some(in_place_veth(slot).0),
        action: RuleAction::Table(path_table(slot, PINNED)),
    }
}

pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    plan.rules.extend(resolved.slots_of(anchor).into_iter().map(|slot| path(ANCHOR_NETNS, slot, ON_ANCHOR)));
    no_path(ANCHOR_NETNS, plan);
}

/// Shimmed packets are IPv4.
fn path(netns: &str, slot: u8, anchor: u8) -> RuleSpec {
    RuleSpec {
        netns: netns.to_owned(),
        family: Family::Ipv4,
        priority: path_rule_priority(slot, anchor),
        fwmark: Some((mark::path(slot, anchor), mark::PATH_MASK)),
        iif: None,
        action: RuleAction::Table(path_table(slot, anchor)),
    }
}

/// What leaves the shim without a path would be routed to the shim again, until its TTL ends. IPv6 too: while the
/// program is missing, packets leave as they came.
fn no_path(netns: &str, plan: &mut PlanObjects) {
    plan.rules.extend(Family::BOTH.map(|family| RuleSpec {
        netns: netns.to_owned(),
        family,
        priority: NO_PATH_RULE_PRIORITY,
        fwmark: None,
        iif: Some(SHIM_PEER.to_owned()),
        action: RuleAction::Blackhole,
    }));
}
