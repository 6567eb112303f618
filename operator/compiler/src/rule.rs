//! Rules: from the mark to the path's table.

use pathsteer_crds::Attach;
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, DIRECT_RULE_PRIORITY, DIRECT_TABLE, HOST, NO_PATH_RULE_PRIORITY, OUTSIDE_RULE_PRIORITY, SHIM_PEER,
    VIP_NETNS, in_place_veth, path_rule_priority, path_table,
};
use pathsteer_crds::plan::{Family, PlanObjects, RuleAction, RuleSpec};

use crate::anchor::Anchor;
use crate::resolve::Resolved;
use crate::site::Site;
use crate::uplink::Uplink;

/// On an anchor the mark has no anchor index.
const ON_ANCHOR: u8 = 0;
/// At an edge, a flow pinned to an uplink has none either: it goes to no anchor.
pub(crate) const PINNED: u8 = 0;

pub(crate) fn edge(resolved: &Resolved<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    for anchor in resolved.anchors_of(site) {
        plan.rules.extend(site.slots().map(|slot| path(VIP_NETNS, slot, anchor.index)));
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        direct(site, family, plan);
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

/// Flows straight to the internet: first by the uplink they are pinned to, then by the preferred one. What comes from a
/// segment outside the fabric has no other way, whatever its mark says.
fn direct(site: &Site<'_>, family: Family, plan: &mut PlanObjects) {
    let rule = |priority, fwmark, iif, table| RuleSpec {
        netns: VIP_NETNS.to_owned(),
        family,
        priority,
        fwmark,
        iif,
        action: RuleAction::Table(table),
    };
    plan.rules.extend(site.slots().map(|slot| {
        let pinned = Some((mark::path(slot, PINNED), mark::PATH_MASK));
        rule(path_rule_priority(slot, PINNED), pinned, None, path_table(slot, PINNED))
    }));
    plan.rules.push(rule(DIRECT_RULE_PRIORITY, Some((mark::DIRECT, mark::TAG_MASK)), None, DIRECT_TABLE));
    let outside = site.segments().filter(|vlan| !vlan.in_fabric());
    plan.rules.extend(outside.map(|vlan| rule(OUTSIDE_RULE_PRIORITY, None, Some(vlan.link()), DIRECT_TABLE)));
}

/// What leaves the shim without a path would be routed to the shim again, until its TTL ends. IPv6 too: while the
/// program is missing, packets leave as they came.
fn no_path(netns: &str, plan: &mut PlanObjects) {
    plan.rules.extend([Family::Ipv4, Family::Ipv6].map(|family| RuleSpec {
        netns: netns.to_owned(),
        family,
        priority: NO_PATH_RULE_PRIORITY,
        fwmark: None,
        iif: Some(SHIM_PEER.to_owned()),
        action: RuleAction::Blackhole,
    }));
}
