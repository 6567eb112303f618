//! Sites that take part.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use pathsteer_crds::plan::{Family, NODE_SCOPE};
use pathsteer_crds::{Kind, SiteSpec};

use crate::anchor::{Anchor, out_of_nodes};
use crate::claim::Networks;
use crate::datapath;
use crate::diagnostics::Severity;
use crate::overrides::Will;
use crate::reason::Reason;
use crate::resolve::Admission;
use crate::uplink::Uplink;
use crate::vlan::Vlan;

#[derive(Hash)]
pub(crate) struct Site<'a> {
    pub name: &'a str,
    pub spec: &'a SiteSpec,
    /// Node index.
    pub node: u32,
    /// The preferred first.
    pub uplinks: Vec<Uplink<'a>>,
    /// By name.
    pub vlans: Vec<Vlan<'a>>,
    /// The node's own namespace, a segment as well.
    pub host: Vlan<'a>,
    pub will: Will,
    /// What the node says of its memory; 0 until then.
    pub incarnation: u32,
    /// Public key per slot, once the node has reported it.
    pub keys: BTreeMap<u8, &'a str>,
}

impl<'a> Site<'a> {
    /// Slots that have an uplink, the preferred first.
    pub fn slots(&self) -> impl Iterator<Item = u8> {
        self.uplinks.iter().map(|uplink| uplink.spec.slot)
    }

    /// Whether it names `anchor`.
    pub fn is_of(&self, anchor: &Anchor<'_>) -> bool {
        self.spec.anchors.iter().any(|name| name == anchor.name)
    }

    /// The uplink in `slot`.
    pub fn uplink_in(&self, slot: u8) -> Option<&Uplink<'a>> {
        self.uplinks.iter().find(|uplink| uplink.spec.slot == slot)
    }

    /// Everything whose flows the node takes in clear.
    pub fn segments(&self) -> impl Iterator<Item = &Vlan<'a>> {
        self.vlans.iter().chain([&self.host])
    }

    /// The address of `family` that the node answers with in the fabric: its first VIP, else its first address on a
    /// segment that the fabric carries.
    pub fn own_address(&self, family: Family) -> Option<IpAddr> {
        let vips = self.spec.vips.iter().copied();
        let carried = self.vlans.iter().filter(|vlan| vlan.in_fabric());
        let segments = carried.flat_map(|vlan| vlan.spec.addresses.iter().map(IpNet::addr));
        vips.chain(segments).find(|address| address.is_ipv6() == (family == Family::Ipv6))
    }

    /// Whether anything behind the site has an address of `family`.
    pub fn speaks(&self, family: Family) -> bool {
        let v6 = family == Family::Ipv6;
        self.spec.vips.iter().any(|vip| vip.is_ipv6() == v6)
            || self.spec.prefixes.iter().any(|prefix| matches!(prefix, IpNet::V6(_)) == v6)
    }
}

pub(crate) fn admit<'a>(
    admission: &mut Admission<'a>,
    anchors: &BTreeMap<&'a str, Anchor<'a>>,
) -> BTreeMap<&'a str, Site<'a>> {
    let sound = admission.diagnostics.sound(&admission.inventory.sites);
    let wanted = sound.iter().flat_map(|(name, spec)| spec.all_prefixes().into_iter().map(move |one| (one, *name)));
    let mut networks = admission.claims.networks("prefix".to_owned(), wanted);

    let mut sites = BTreeMap::new();
    let mut too_late = Vec::new();
    for (name, spec) in &sound {
        // All three run, so that all that is wrong is said at once.
        let sound = [
            name_is_free(admission, name),
            anchors_exist(admission, name, spec, anchors),
            prefixes_are_usable(admission, name, spec, anchors),
        ];
        if sound.contains(&false) {
            continue;
        }
        if spec.all_prefixes().into_iter().any(|prefix| networks.overlapping(prefix, name).is_some()) {
            too_late.push((*name, *spec));
            continue;
        }
        let Some(node) = admission.pools.nodes.number(name) else {
            out_of_nodes(admission, Kind::Site, name);
            continue;
        };
        for prefix in spec.all_prefixes() {
            networks.insert(prefix, name);
        }
        let (uplinks, vlans, host) = (Vec::new(), Vec::new(), Vlan::host());
        let (will, keys) = (Will::default(), BTreeMap::new());
        sites.insert(*name, Site { name, spec, node, uplinks, vlans, host, will, incarnation: 0, keys });
    }
    for (name, spec) in too_late {
        report_overlaps(admission, name, spec, &networks);
    }
    admission.claims.record(networks);
    sites
}

fn name_is_free(admission: &mut Admission<'_>, name: &str) -> bool {
    let mut free = true;
    if admission.inventory.anchors.contains_key(name) {
        free = false;
        let message = format!("an Anchor is named `{name}` too, and nodes need names of their own: rename the Site");
        admission.diagnostics.error(Kind::Site, name, Reason::NameTaken, message);
    }
    if name == NODE_SCOPE {
        free = false;
        let message = format!("`{NODE_SCOPE}` marks what belongs to a node itself in every plan: rename the Site");
        admission.diagnostics.error(Kind::Site, name, Reason::NameTaken, message);
    }
    free
}

fn anchors_exist<'a>(
    admission: &mut Admission<'a>,
    name: &str,
    spec: &SiteSpec,
    anchors: &BTreeMap<&'a str, Anchor<'a>>,
) -> bool {
    let mut exist = true;
    for anchor in spec.anchors.iter().filter(|anchor| !anchors.contains_key(anchor.as_str())) {
        exist = false;
        let target = (Kind::Anchor, anchor.as_str());
        admission.diagnostics.dangling(Severity::Error, (Kind::Site, name), target, &admission.inventory.anchors);
    }
    exist
}

/// Whether the prefixes mean something else nowhere on the way: in the overlay, on a single link, at an anchor.
fn prefixes_are_usable<'a>(
    admission: &mut Admission<'a>,
    name: &str,
    spec: &SiteSpec,
    anchors: &BTreeMap<&'a str, Anchor<'a>>,
) -> bool {
    let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let mut usable = true;
    let mut fault = |reason: Reason, message: String| {
        usable = false;
        admission.diagnostics.error(Kind::Site, name, reason, message);
    };
    for prefix in spec.all_prefixes() {
        if admission.fabric.overlaps(&prefix) {
            let overlay = admission.fabric.overlay;
            fault(
                Reason::OverlayOverlap,
                format!("{prefix} overlaps the fabric's overlay {overlay}: one of them must move"),
            );
        }
        for reserved in datapath::never_shimmed().into_iter().filter(|reserved| overlap(reserved, &prefix)) {
            fault(
                Reason::PrefixReserved,
                format!("{prefix} overlaps {reserved}, which no router carries: use another"),
            );
        }
        for anchor in spec.anchors.iter().filter_map(|anchor| anchors.get(anchor.as_str())) {
            let internet = anchor.spec.internet.addresses.iter().map(IpNet::trunc);
            for network in internet.chain(anchor.pool()).filter(|network| overlap(network, &prefix)) {
                let anchor = anchor.name;
                fault(
                    Reason::PrefixOverlap,
                    format!(
                        "{prefix} overlaps {network}, a network of Anchor `{anchor}` towards the internet: use another"
                    ),
                );
            }
        }
    }
    usable
}

fn report_overlaps(admission: &mut Admission<'_>, name: &str, spec: &SiteSpec, networks: &Networks<'_>) {
    for prefix in spec.all_prefixes() {
        if let Some((network, owner)) = networks.overlapping(prefix, name) {
            let message = format!("{prefix} overlaps {network} of Site `{owner}`: a prefix lies behind one site only");
            admission.diagnostics.error(Kind::Site, name, Reason::PrefixOverlap, message);
        }
    }
}
