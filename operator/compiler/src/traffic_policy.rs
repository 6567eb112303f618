//! Traffic policies that take part, and the steering classes they use.

use std::collections::BTreeSet;

use ipnet::IpNet;
use pathsteer_crds::plan::{Family, FlowTo};
use pathsteer_crds::{Kind, SegmentTreatment, TrafficPolicySpec, Treatment};

use crate::allocate::{DEFAULT_CLASS, DEFAULT_SERVICE_CLASS, SERVICE};
use crate::diagnostics::Diagnostics;
use crate::inventory::Inventory;
use crate::nft;
use crate::reason::Reason;
use crate::resolve::{Admission, Resolved};
use crate::site::Site;
use crate::vlan::{Vlan, is_service};

/// As many policies as a sentence can name.
const MOST_TAKERS: usize = 4;

#[derive(Hash)]
pub(crate) struct Policy<'a> {
    pub name: &'a str,
    pub spec: &'a TrafficPolicySpec,
    /// What becomes of a flow it matches.
    pub to: FlowTo,
}

impl Policy<'_> {
    /// Whether it sends flows straight to the internet.
    pub fn is_direct(&self) -> bool {
        self.to == FlowTo::Direct
    }

    pub fn holds_for(&self, site: &str) -> bool {
        self.spec.sites.is_empty() || self.spec.sites.iter().any(|name| name == site)
    }
}

/// The policies in the order in which they are tried.
pub(crate) fn admit<'a>(admission: &mut Admission<'a>) -> Vec<Policy<'a>> {
    let mut ordered = Vec::new();
    for (name, spec) in admission.diagnostics.sound(&admission.inventory.traffic_policies) {
        let to = match class_key(spec) {
            None => FlowTo::Direct,
            // Given also when its sites are missing: when they come, no other node's plan changes.
            Some(key) => match admission.pools.class(&key) {
                Some(class) => FlowTo::Class(class),
                None => {
                    let message = format!(
                        "there is no room for steering class `{key}`: a fabric has at most 15 with `{DEFAULT_CLASS}`; let it share one"
                    );
                    admission.diagnostics.error(Kind::TrafficPolicy, name, Reason::PoolExhausted, message);
                    continue;
                }
            },
        };
        if admission.selected_sites(Kind::TrafficPolicy, name, &spec.sites) {
            ordered.push(Policy { name, spec, to });
        }
    }
    // Stable: equal priorities stay in the order of their names.
    ordered.sort_by_key(|policy| policy.spec.priority);
    ordered
}

/// The keys of all steering classes that objects of `inventory` name.
pub(crate) fn class_keys(inventory: &Inventory) -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = inventory.traffic_policies.values().filter_map(class_key).collect();
    if inventory.vlans.values().any(|vlan| is_service(vlan.treatment)) {
        keys.insert(DEFAULT_SERVICE_CLASS.to_owned());
    }
    keys
}

/// A service class is another than the survivable one of its name, because only one of them is copied.
fn class_key(spec: &TrafficPolicySpec) -> Option<String> {
    match spec.treatment {
        Treatment::Survivable => Some(spec.steering_class.clone()),
        Treatment::Service => Some(format!("{}{SERVICE}", spec.steering_class)),
        Treatment::BestEffort => None,
    }
}

/// Says which policies decide about no flow at all; `live` are the places of those that do so in some map.
pub(crate) fn diagnose(resolved: &Resolved<'_>, live: &BTreeSet<usize>, diagnostics: &mut Diagnostics) {
    let all: Vec<&Site<'_>> = resolved.sites.values().collect();
    for (place, policy) in resolved.flows.policies.iter().enumerate() {
        let named: Vec<&Site<'_>> =
            policy.spec.sites.iter().filter_map(|name| resolved.sites.get(name.as_str())).collect();
        let sites = if policy.spec.sites.is_empty() { &all } else { &named };
        // Sites that are still to come, or in error, say nothing.
        if sites.is_empty() {
            continue;
        }
        let why = not_asked(policy, sites)
            .or_else(|| not_spoken(policy, sites))
            .or_else(|| (!live.contains(&place)).then(|| taken(resolved, sites, place)));
        if let Some(why) = why {
            diagnostics.warning(Kind::TrafficPolicy, policy.name, Reason::NeverMatches, why);
        }
    }
}

/// Whether flows of `site` are looked up where such a policy stands. Those that may go straight to the internet are of
/// mixed segments; what stays in a tunnel may also come from outside, for whatever has an address there.
fn asks(policy: &Policy<'_>, site: &Site<'_>) -> bool {
    !policy.is_direct() || site.vlans.iter().any(|vlan| vlan.spec.treatment == SegmentTreatment::Mixed)
}

/// Why no segment of `sites` asks such a policy.
fn not_asked(policy: &Policy<'_>, sites: &[&Site<'_>]) -> Option<String> {
    if policy.is_direct() {
        return (!sites.iter().any(|site| asks(policy, site))).then(|| {
            "no site it holds for has a `mixed` segment, and flows of no other go where a policy says `bestEffort`: make the segment `mixed`"
                .to_owned()
        });
    }
    let mut segments = sites.iter().flat_map(|site| &site.vlans).peekable();
    // A site without segments is yet to get them, and what comes for a VIP asks as well.
    let apart = segments.peek().is_some()
        && !segments.any(Vlan::in_fabric)
        && sites.iter().all(|site| site.spec.vips.is_empty());
    apart.then(|| {
        "all segments of the sites it holds for are `guest` or `bestEffort`, whose flows never enter a tunnel: give what it is for a segment of its own, `mixed` or `survivable`"
            .to_owned()
    })
}

/// Why no flow of `sites` goes to a prefix that the policy names.
fn not_spoken(policy: &Policy<'_>, sites: &[&Site<'_>]) -> Option<String> {
    let matches = &policy.spec.matches;
    let spoken = |prefix: &IpNet| sites.iter().any(|site| site.speaks(Family::of(prefix.addr())));
    let prefix = matches.first()?.prefix?;
    let all_foreign = matches.iter().all(|one| one.prefix.is_some_and(|prefix| !spoken(&prefix)));
    all_foreign.then(|| {
        let family = if prefix.addr().is_ipv6() { "IPv6" } else { "IPv4" };
        format!(
            "it is for {prefix}, and no site it holds for has a prefix or VIP of {family}: add one, or name another"
        )
    })
}

/// Who goes first and leaves the policy at `place` no flow of `sites`.
fn taken(resolved: &Resolved<'_>, sites: &[&Site<'_>], place: usize) -> String {
    let policy = &resolved.flows.policies[place];
    let mut seen = BTreeSet::new();
    let mut takers = BTreeSet::new();
    for site in sites.iter().filter(|site| asks(policy, site)) {
        // What goes straight to the internet takes nothing from what stays in a tunnel.
        let takes = |other: &Policy<'_>| other.holds_for(site.name) && (policy.is_direct() || !other.is_direct());
        let earlier: Vec<usize> = (0..place).filter(|other| takes(&resolved.flows.policies[*other])).collect();
        if seen.insert(earlier.clone()) {
            takers.extend(needed(resolved, earlier, policy));
        }
    }
    let named = takers.iter().take(MOST_TAKERS).map(|taker| &resolved.flows.policies[*taker]);
    let mut named: Vec<String> =
        named.map(|taker| format!("`{}` (priority {})", taker.name, taker.spec.priority)).collect();
    if takers.len() > MOST_TAKERS {
        named.push(format!("{} more", takers.len() - MOST_TAKERS));
    }
    let (goes, theirs) =
        if takers.len() == 1 { ("goes first and takes", "that one's") } else { ("go first and take", "theirs") };
    format!(
        "{} {goes} all that it matches: give it a lower `priority` than {theirs} (it has {}; of equals the lower name goes first), or delete it",
        named.join(" and "),
        policy.spec.priority
    )
}

/// Those of `earlier` without which `policy` would be left something: one that takes everything alone, if there is one.
fn needed(resolved: &Resolved<'_>, earlier: Vec<usize>, policy: &Policy<'_>) -> Vec<usize> {
    let of = |places: &[usize]| places.iter().map(|place| &resolved.flows.policies[*place]).collect::<Vec<_>>();
    if let Some(alone) = earlier.iter().find(|one| nft::leave_nothing(&of(&[**one]), policy)) {
        return vec![*alone];
    }
    let mut needed: Vec<usize> =
        earlier.into_iter().filter(|one| nft::overlap(&resolved.flows.policies[*one], policy)).collect();
    // Of more than are named it does not matter which.
    let mut index = 0;
    while index < needed.len() && needed.len() <= 2 * MOST_TAKERS {
        let mut without = needed.clone();
        without.remove(index);
        if nft::leave_nothing(&of(&without), policy) {
            needed = without;
        } else {
            index += 1;
        }
    }
    needed
}
