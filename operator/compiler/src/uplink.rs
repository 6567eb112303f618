//! Uplinks that take part.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;
use pathsteer_crds::plan::Family;
use pathsteer_crds::{AddressMethod, Kind, UplinkSpec};

use crate::anchor::Anchor;
use crate::diagnostics::Severity;
use crate::reason::Reason;
use crate::resolve::Admission;
use crate::site::Site;

#[derive(Hash)]
pub(crate) struct Uplink<'a> {
    pub name: &'a str,
    pub spec: &'a UplinkSpec,
}

impl Uplink<'_> {
    /// Where this uplink finds `anchor`: over the family it prefers if both have it, else over the other. Where nothing
    /// is preferred, DHCP is IPv4: whether a WAN has IPv6 as well is not known beforehand.
    pub fn endpoint(&self, anchor: &Anchor<'_>) -> Option<SocketAddr> {
        let prefers_v6 = self.spec.underlay == Some(Family::Ipv6);
        let has = |v6: bool| match &self.spec.address {
            AddressMethod::Dhcp => !v6 || prefers_v6,
            AddressMethod::Slaac | AddressMethod::Dhcpv6 => v6,
            AddressMethod::Host => !v6,
            AddressMethod::Static { addresses, .. } => addresses.iter().any(|own| own.addr().is_ipv6() == v6),
        };
        let endpoints = anchor.spec.endpoints.iter().map(|endpoint| endpoint.address);
        let reached = endpoints.filter(|address| has(address.is_ipv6()));
        let address = reached.min_by_key(|address| address.is_ipv6() != prefers_v6)?;
        Some(SocketAddr::new(address, anchor.port(self.spec.slot)))
    }
}

/// Gives every site its uplinks, the preferred first.
pub(crate) fn admit<'a>(
    admission: &mut Admission<'a>,
    uplinks: BTreeMap<&'a str, &'a UplinkSpec>,
    doubly_used: &BTreeSet<(Kind, &'a str)>,
    sites: &mut BTreeMap<&'a str, Site<'a>>,
) {
    let slot_taken = contest_slots(admission, &uplinks);
    for (key, spec) in uplinks {
        let clear = clear_of_overlay(admission, key, spec);
        let (site, name) = split_key(key);
        let Some(site) = sites.get_mut(site) else {
            let (this, target) = ((Kind::Uplink, key), (Kind::Site, site));
            admission.diagnostics.dangling(Severity::Error, this, target, &admission.inventory.sites);
            continue;
        };
        if clear && !slot_taken.contains(key) && !doubly_used.contains(&(Kind::Uplink, key)) {
            site.uplinks.push(Uplink { name, spec });
        }
    }
    for site in sites.values_mut() {
        site.uplinks.sort_by_key(|uplink| (uplink.spec.cost, uplink.spec.slot));
        if site.uplinks.is_empty() {
            let message = "no uplink takes part: the site reaches nobody until an Uplink is applied".to_owned();
            admission.diagnostics.warning(Kind::Site, site.name, Reason::NoUplinks, message);
        }
    }
}

/// Site and name of the key of an Uplink or Vlan.
pub(crate) fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

/// Uplinks whose slot another uplink of their site has.
fn contest_slots<'a>(admission: &mut Admission<'a>, uplinks: &BTreeMap<&'a str, &'a UplinkSpec>) -> BTreeSet<&'a str> {
    let mut claimants: BTreeMap<(&str, u8), Vec<(Kind, &str)>> = BTreeMap::new();
    for (key, spec) in uplinks {
        claimants.entry((split_key(key).0, spec.slot)).or_default().push((Kind::Uplink, key));
    }
    let mut losers = BTreeSet::new();
    for ((site, slot), claimants) in claimants {
        let (_, holder) = admission.claims.grant(format!("slot {site}/{slot}"), &claimants);
        for (kind, key) in claimants.into_iter().filter(|(_, key)| *key != holder) {
            let message = format!("slot {slot} is taken by Uplink `{holder}`: give one of them another slot");
            admission.diagnostics.error(kind, key, Reason::SlotTaken, message);
            losers.insert(key);
        }
    }
    losers
}

fn clear_of_overlay(admission: &mut Admission<'_>, key: &str, spec: &UplinkSpec) -> bool {
    let AddressMethod::Static { addresses, .. } = &spec.address else { return true };
    let mut clear = true;
    for network in addresses.iter().map(IpNet::trunc).filter(|network| admission.fabric.overlaps(network)) {
        clear = false;
        let overlay = admission.fabric.overlay;
        let message = format!("{network} overlaps the fabric's overlay {overlay}: one of them must move");
        admission.diagnostics.error(Kind::Uplink, key, Reason::OverlayOverlap, message);
    }
    clear
}
