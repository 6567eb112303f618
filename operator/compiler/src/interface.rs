//! Interfaces of a site's node: an interface serves one Uplink, or segments, of which one may be untagged.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::{Kind, SegmentTreatment, UplinkSpec, VlanSpec};

use crate::reason::Reason;
use crate::resolve::Admission;
use crate::uplink::split_key;

/// Objects whose interface or VLAN id another object of their site has.
pub(crate) fn contest<'a>(
    admission: &mut Admission<'a>,
    uplinks: &BTreeMap<&'a str, &'a UplinkSpec>,
    vlans: &BTreeMap<&'a str, &'a VlanSpec>,
) -> BTreeSet<(Kind, &'a str)> {
    let mut losers = cards(admission, uplinks, vlans);
    losers.extend(segments(admission, vlans, &losers));
    losers
}

/// Each card is an Uplink's, or belongs to all the segments that name it.
fn cards<'a>(
    admission: &mut Admission<'a>,
    uplinks: &BTreeMap<&'a str, &'a UplinkSpec>,
    vlans: &BTreeMap<&'a str, &'a VlanSpec>,
) -> BTreeSet<(Kind, &'a str)> {
    type Users<'a> = (Vec<(Kind, &'a str)>, Vec<(Kind, &'a str)>);
    let mut users: BTreeMap<(&str, &str), Users<'_>> = BTreeMap::new();
    for (key, spec) in uplinks {
        users.entry((split_key(key).0, &spec.interface)).or_default().0.push((Kind::Uplink, key));
    }
    for (key, spec) in vlans {
        users.entry((split_key(key).0, &spec.interface)).or_default().1.push((Kind::Vlan, key));
    }
    let mut losers = BTreeSet::new();
    for ((site, interface), (uplinks, segments)) in users {
        // The segments claim it together, so that it stays theirs when one of them goes.
        let mut claimants = uplinks.clone();
        claimants.extend((!segments.is_empty()).then_some((Kind::Vlan, site)));
        let holder = admission.claims.grant(format!("interface {site}/{interface}"), &claimants);
        let (holder, lost) = match holder.0 {
            Kind::Vlan => (segments[0], uplinks),
            _ => (holder, uplinks.into_iter().filter(|one| *one != holder).chain(segments).collect()),
        };
        for (kind, key) in lost {
            let message = format!(
                "interface `{interface}` is taken by {} `{}`: give one of them another interface",
                holder.0, holder.1
            );
            admission.diagnostics.error(kind, key, Reason::InterfaceTaken, message);
            losers.insert((kind, key));
        }
    }
    losers
}

/// Each VLAN id of a site, and what each card carries untagged, is one segment's.
fn segments<'a>(
    admission: &mut Admission<'a>,
    vlans: &BTreeMap<&'a str, &'a VlanSpec>,
    without: &BTreeSet<(Kind, &'a str)>,
) -> BTreeSet<(Kind, &'a str)> {
    let mut claimants: BTreeMap<String, Vec<(Kind, &str)>> = BTreeMap::new();
    for (key, spec) in vlans.iter().filter(|(key, _)| !without.contains(&(Kind::Vlan, **key))) {
        let site = split_key(key).0;
        let thing = match spec.id {
            Some(id) => format!("vlan {site}/{id}"),
            None => format!("untagged {site}/{}", spec.interface),
        };
        claimants.entry(thing).or_default().push((Kind::Vlan, key));
    }
    let mut losers = BTreeSet::new();
    for (thing, claimants) in claimants {
        let holder = admission.claims.grant(thing, &claimants);
        for (kind, key) in claimants.into_iter().filter(|one| *one != holder) {
            let (reason, message) = match vlans[key].id {
                _ if shares_with_guests(vlans[key], vlans[holder.1]) => {
                    (Reason::GuestsAmongOthers, among_others(vlans[key], holder.1))
                }
                Some(id) => {
                    (Reason::IdTaken, format!("id {id} is taken by Vlan `{}`: give one of them another id", holder.1))
                }
                None => (
                    Reason::InterfaceTaken,
                    format!(
                        "what `{}` carries untagged is taken by Vlan `{}`: give one of them an id or another interface",
                        vlans[key].interface, holder.1
                    ),
                ),
            };
            admission.diagnostics.error(kind, key, reason, message);
            losers.insert((kind, key));
        }
    }
    losers
}

/// Whether of two segments that are one on the wire exactly one is for guests.
fn shares_with_guests(one: &VlanSpec, other: &VlanSpec) -> bool {
    let guests = |spec: &VlanSpec| spec.treatment == SegmentTreatment::Guest;
    one.interface == other.interface && guests(one) != guests(other)
}

fn among_others(loser: &VlanSpec, holder: &str) -> String {
    let wire = match loser.id {
        Some(id) => format!("VLAN {id} of `{}`", loser.interface),
        None => format!("what `{}` carries untagged", loser.interface),
    };
    let guests = match loser.treatment {
        SegmentTreatment::Guest => "this segment",
        _ => "that one",
    };
    format!(
        "{wire} is Vlan `{holder}`, and {guests} is for guests: on one wire nothing keeps them from the others; give the guests an id or interface of their own"
    )
}
