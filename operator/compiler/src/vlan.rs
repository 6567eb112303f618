//! Vlans that take part.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use pathsteer_crds::{Kind, SiteSpec, VlanSpec};

use crate::diagnostics::Severity;
use crate::resolve::Admission;
use crate::site::Site;
use crate::uplink::split_key;

pub(crate) struct Vlan<'a> {
    pub spec: &'a VlanSpec,
}

/// Gives every site its segments.
pub(crate) fn admit<'a>(
    admission: &mut Admission<'a>,
    vlans: BTreeMap<&'a str, &'a VlanSpec>,
    doubly_used: &BTreeSet<(Kind, &'a str)>,
    sites: &mut BTreeMap<&'a str, Site<'a>>,
) {
    let wanted = vlans.iter().flat_map(|(key, spec)| segments(spec).map(move |segment| (segment, *key)));
    let mut networks = admission.claims.networks("segment", wanted);
    let mut too_late = Vec::new();
    for (key, spec) in vlans {
        let Some(site) = sites.get_mut(split_key(key).0) else {
            let (this, target) = ((Kind::Vlan, key), (Kind::Site, split_key(key).0));
            admission.diagnostics.dangling(Severity::Error, this, target, &admission.inventory.sites);
            continue;
        };
        if !lies_behind(admission, key, spec, site.spec) || doubly_used.contains(&(Kind::Vlan, key)) {
            continue;
        }
        if segments(spec).any(|segment| networks.overlapping(segment, key).is_some()) {
            too_late.push((key, spec));
            continue;
        }
        for segment in segments(spec) {
            networks.insert(segment, key);
        }
        site.vlans.push(Vlan { spec });
    }
    for (key, spec) in too_late {
        for segment in segments(spec) {
            if let Some((network, owner)) = networks.overlapping(segment, key) {
                let message = format!("{segment} overlaps {network} of Vlan `{owner}`: use another");
                admission.diagnostics.error(Kind::Vlan, key, "AddressOverlap", message);
            }
        }
    }
    admission.claims.record(networks);
}

fn segments(spec: &VlanSpec) -> impl Iterator<Item = IpNet> {
    spec.addresses.iter().map(IpNet::trunc)
}

/// Whether every address with its whole network lies in a prefix of the site: what lies outside is refused by the anchor.
fn lies_behind(admission: &mut Admission<'_>, key: &str, spec: &VlanSpec, site: &SiteSpec) -> bool {
    let mut all = true;
    for address in &spec.addresses {
        if !site.prefixes.iter().any(|prefix| prefix.contains(&address.trunc())) {
            all = false;
            let site = split_key(key).0;
            let message = format!(
                "{address} lies in none of the prefixes of Site `{site}`: nothing could reach it; add {} there",
                address.trunc()
            );
            admission.diagnostics.error(Kind::Vlan, key, "AddressOutsidePrefixes", message);
        }
    }
    all
}
