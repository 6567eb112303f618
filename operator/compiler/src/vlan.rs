//! Vlans that take part: the segments of a site.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use ipnet::IpNet;
use pathsteer_crds::ownership::{HOST_VETH, vlan_link};
use pathsteer_crds::plumbing::host_networks;
use pathsteer_crds::{Kind, SegmentTreatment, VlanSpec};

use crate::allocate::DEFAULT_SERVICE_CLASS;
use crate::anchor::Anchor;
use crate::claim::Networks;
use crate::datapath;
use crate::diagnostics::Severity;
use crate::fabric::Fabric;
use crate::nft;
use crate::reason::Reason;
use crate::resolve::Admission;
use crate::site::Site;
use crate::uplink::split_key;

/// The node's own namespace, seen from the vip namespace: best effort, so that it has a way wherever any uplink has one.
static HOST: LazyLock<VlanSpec> = LazyLock::new(|| VlanSpec {
    interface: HOST_VETH.1.to_owned(),
    id: None,
    addresses: host_networks().map(|[_, ours]| ours).to_vec(),
    treatment: SegmentTreatment::BestEffort,
    reaches: Vec::new(),
});

#[derive(Hash)]
pub(crate) struct Vlan<'a> {
    pub name: &'a str,
    pub spec: &'a VlanSpec,
    /// Other segments of the site to which flows may be opened from here.
    pub reaches: BTreeSet<&'a str>,
}

impl<'a> Vlan<'a> {
    /// The node's own namespace. No segment that anybody declares has an empty name.
    pub fn host() -> Self {
        Vlan { name: "", spec: &HOST, reaches: BTreeSet::new() }
    }

    /// Its interface in the vip namespace.
    pub fn link(&self) -> String {
        self.spec.id.map_or_else(|| self.spec.interface.clone(), vlan_link)
    }

    pub fn networks(&self) -> impl Iterator<Item = IpNet> + use<'a> {
        networks(self.spec)
    }

    /// Whether the fabric carries its addresses.
    pub fn in_fabric(&self) -> bool {
        self.spec.treatment.in_fabric()
    }

    /// Whether its flows may go straight to the internet.
    pub fn goes_direct(&self) -> bool {
        match self.spec.treatment {
            SegmentTreatment::Survivable | SegmentTreatment::Service => false,
            SegmentTreatment::Mixed | SegmentTreatment::BestEffort | SegmentTreatment::Guest => true,
        }
    }
}

/// Whether flows of such a segment that are in a tunnel are in the class of services unless a policy says otherwise.
pub(crate) fn is_service(treatment: SegmentTreatment) -> bool {
    matches!(treatment, SegmentTreatment::Service | SegmentTreatment::Mixed)
}

/// Gives every site its segments.
pub(crate) fn admit<'a>(
    admission: &mut Admission<'a>,
    vlans: BTreeMap<&'a str, &'a VlanSpec>,
    doubly_used: &BTreeSet<(Kind, &'a str)>,
    sites: &mut BTreeMap<&'a str, Site<'a>>,
) {
    let prefixes = sites.values().flat_map(|site| site.spec.all_prefixes().into_iter().map(|one| (one, site.name)));
    let prefixes = Networks::known(prefixes);
    let mut by_site: BTreeMap<&str, Vec<(&'a str, &'a VlanSpec)>> = BTreeMap::new();
    for (key, spec) in vlans {
        by_site.entry(split_key(key).0).or_default().push((key, spec));
    }
    for (name, vlans) in by_site {
        let Some(site) = sites.get_mut(name) else {
            for (key, _) in vlans {
                let (this, target) = ((Kind::Vlan, key), (Kind::Site, name));
                admission.diagnostics.dangling(Severity::Error, this, target, &admission.inventory.sites);
            }
            continue;
        };
        let wanted = vlans.iter().flat_map(|(key, spec)| networks(spec).map(move |network| (network, *key)));
        let mut taken = admission.claims.networks(format!("segment {name}"), wanted);
        let mut too_late = Vec::new();
        for (key, spec) in vlans {
            // All run, so that all that is wrong is said at once.
            let sound = [
                addresses_fit(admission, (key, spec), site, &prefixes),
                class_exists(admission, key, spec),
                !doubly_used.contains(&(Kind::Vlan, key)),
            ];
            if sound.contains(&false) {
                continue;
            }
            if networks(spec).any(|network| taken.overlapping(network, key).is_some()) {
                too_late.push((key, spec));
                continue;
            }
            networks(spec).for_each(|network| taken.insert(network, key));
            site.vlans.push(Vlan { name: split_key(key).1, spec, reaches: BTreeSet::new() });
        }
        for (key, spec) in too_late {
            report_overlaps(admission, key, spec, &taken);
        }
        admission.claims.record(taken);
        let reached = site.vlans.iter().filter(|vlan| vlan.spec.treatment != SegmentTreatment::Guest);
        site.host.reaches = reached.map(|vlan| vlan.name).collect();
        reach(admission, site);
        operators_known(admission, site);
    }
}

fn networks(spec: &VlanSpec) -> impl Iterator<Item = IpNet> + use<'_> {
    spec.addresses.iter().map(IpNet::trunc)
}

/// Whether the addresses lie where the treatment wants them: inside the site's prefixes what the fabric carries (the
/// anchor refuses the rest), outside of them what it does not.
fn addresses_fit(
    admission: &mut Admission<'_>,
    (key, spec): (&str, &VlanSpec),
    site: &Site<'_>,
    prefixes: &Networks<'_>,
) -> bool {
    let (site, all) = (site.name, site.spec.all_prefixes());
    let own = || all.iter();
    let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let mut fit = true;
    let mut fault = |admission: &mut Admission<'_>, reason: Reason, message: String| {
        fit = false;
        admission.diagnostics.error(Kind::Vlan, key, reason, message);
    };
    for network in networks(spec) {
        if spec.treatment.in_fabric() {
            if !own().any(|prefix| prefix.contains(&network)) {
                let message = format!(
                    "{network} lies in none of the prefixes of Site `{site}`: nothing could reach it; add it there"
                );
                fault(admission, Reason::AddressOutsidePrefixes, message);
            }
            continue;
        }
        if let Some(prefix) = own().find(|prefix| overlap(prefix, &network)) {
            let message = format!(
                "{network} overlaps {prefix} of Site `{site}`, which the fabric carries, and this segment it does not: use another"
            );
            fault(admission, Reason::AddressInsidePrefixes, message);
        }
        if admission.fabric.overlaps(&network) {
            let overlay = admission.fabric.overlay;
            let message = format!("{network} overlaps the fabric's overlay {overlay}: one of them must move");
            fault(admission, Reason::OverlayOverlap, message);
        }
        if let Some(reserved) = datapath::never_shimmed().into_iter().find(|reserved| overlap(reserved, &network)) {
            let message = format!("{network} overlaps {reserved}, which no router carries: use another");
            fault(admission, Reason::PrefixReserved, message);
        }
        // Not this segment's fault alone, and nobody is harmed but the two of them.
        for (prefix, other) in prefixes.all_overlapping(network, site) {
            let message =
                format!("{network} overlaps {prefix} of Site `{other}`, which Site `{site}` cannot reach there");
            admission.diagnostics.warning(Kind::Vlan, key, Reason::AddressInsidePrefixes, message);
        }
    }
    fit
}

fn report_overlaps(admission: &mut Admission<'_>, key: &str, spec: &VlanSpec, taken: &Networks<'_>) {
    for segment in networks(spec) {
        if let Some((network, owner)) = taken.overlapping(segment, key) {
            let message = format!("{segment} overlaps {network} of Vlan `{owner}`: use another");
            admission.diagnostics.error(Kind::Vlan, key, Reason::AddressOverlap, message);
        }
    }
}

/// Whether there is a class for its flows in a tunnel that no policy names.
fn class_exists(admission: &mut Admission<'_>, key: &str, spec: &VlanSpec) -> bool {
    let exists = !is_service(spec.treatment) || admission.pools.class(DEFAULT_SERVICE_CLASS).is_some();
    if !exists {
        let message = format!(
            "there is no room for steering class `{DEFAULT_SERVICE_CLASS}`: a fabric has at most 15; let two policies share one"
        );
        admission.diagnostics.error(Kind::Vlan, key, Reason::PoolExhausted, message);
    }
    exists
}

/// Follows `reaches`. A segment that names one in vain keeps the others.
fn reach<'a>(admission: &mut Admission<'a>, site: &mut Site<'a>) {
    let treatments: BTreeMap<&str, SegmentTreatment> =
        site.vlans.iter().map(|vlan| (vlan.name, vlan.spec.treatment)).collect();
    for vlan in &mut site.vlans {
        let key = format!("{}/{}", site.name, vlan.name);
        for name in vlan.spec.reaches.iter().map(String::as_str) {
            match treatments.get(name) {
                Some(SegmentTreatment::Guest) => {
                    let message =
                        format!("`{name}` is a guest segment, which nobody reaches: leave it out of `reaches`");
                    admission.diagnostics.warning(Kind::Vlan, &key, Reason::GuestsApart, message);
                }
                Some(_) => drop(vlan.reaches.insert(name)),
                None => {
                    let target = format!("{}/{name}", site.name);
                    let (this, target) = ((Kind::Vlan, key.as_str()), (Kind::Vlan, target.as_str()));
                    admission.diagnostics.dangling(Severity::Warning, this, target, &admission.inventory.vlans);
                }
            }
        }
    }
}

/// The fabric, what lies behind it, where it ends and who runs it; and private networks. Empty without guests.
pub(crate) fn kept_from_guests(
    fabric: &Fabric<'_>,
    anchors: &BTreeMap<&str, Anchor<'_>>,
    sites: &BTreeMap<&str, Site<'_>>,
) -> Vec<IpNet> {
    let mut segments = sites.values().flat_map(|site| &site.vlans);
    if !segments.any(|vlan| vlan.spec.treatment == SegmentTreatment::Guest) {
        return Vec::new();
    }
    let endpoints = anchors.values().flat_map(|anchor| &anchor.spec.endpoints);
    let hosts = fabric.spec.operators.iter().copied().chain(endpoints.map(|endpoint| endpoint.address));
    let networks = fabric.spec.guests_denied.iter().copied().chain([IpNet::V4(fabric.overlay)]);
    let sites = sites.values().flat_map(|site| site.spec.all_prefixes());
    nft::aggregate(networks.chain(hosts.map(IpNet::from)).chain(sites))
}

/// Guests are kept from the operators, where the fabric says who these are.
fn operators_known(admission: &mut Admission<'_>, site: &Site<'_>) {
    if !admission.fabric.spec.operators.is_empty() {
        return;
    }
    for vlan in site.vlans.iter().filter(|vlan| vlan.spec.treatment == SegmentTreatment::Guest) {
        let message =
            "guests may reach the operators, which the Fabric does not name: list their addresses in its `operators`";
        let key = format!("{}/{}", site.name, vlan.name);
        admission.diagnostics.warning(Kind::Vlan, &key, Reason::OperatorsUnknown, message.to_owned());
    }
}
