//! Interfaces of a site's node: an interface serves one Uplink or Vlan.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::{Kind, UplinkSpec, VlanSpec};

use crate::resolve::Admission;
use crate::uplink::split_key;

/// Objects whose interface another object of their site has.
pub(crate) fn contest<'a>(
    admission: &mut Admission<'a>,
    uplinks: &BTreeMap<&'a str, &'a UplinkSpec>,
    vlans: &BTreeMap<&'a str, &'a VlanSpec>,
) -> BTreeSet<(Kind, &'a str)> {
    let uplinks = uplinks.iter().map(|(key, spec)| (Kind::Uplink, *key, &spec.interface));
    let vlans = vlans.iter().map(|(key, spec)| (Kind::Vlan, *key, &spec.interface));
    let mut claimants: BTreeMap<(&str, &str), Vec<(Kind, &str)>> = BTreeMap::new();
    for (kind, key, interface) in uplinks.chain(vlans) {
        claimants.entry((split_key(key).0, interface)).or_default().push((kind, key));
    }
    let mut losers = BTreeSet::new();
    for ((site, interface), claimants) in claimants {
        let holder = admission.claims.grant(format!("interface {site}/{interface}"), &claimants);
        for (kind, key) in claimants.into_iter().filter(|one| *one != holder) {
            let message = format!(
                "interface `{interface}` is taken by {} `{}`: give one of them another interface",
                holder.0, holder.1
            );
            admission.diagnostics.error(kind, key, "InterfaceTaken", message);
            losers.insert((kind, key));
        }
    }
    losers
}
