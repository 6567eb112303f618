//! Anchors that take part.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pathsteer_crds::{AnchorSpec, Kind};

use crate::pool;
use crate::reason::Reason;
use crate::resolve::Admission;

#[derive(Hash)]
pub(crate) struct Anchor<'a> {
    pub name: &'a str,
    pub spec: &'a AnchorSpec,
    /// Node index.
    pub node: u32,
    /// Anchor index, 1 to 15.
    pub index: u8,
    /// What the node says of its memory; 0 until then.
    pub incarnation: u32,
    /// Public key per slot, once the node has reported it.
    pub keys: BTreeMap<u8, &'a str>,
}

impl Anchor<'_> {
    /// UDP port of `slot`.
    pub fn port(&self, slot: u8) -> u16 {
        self.spec.port_base + u16::from(slot)
    }

    /// The networks to whose addresses it translates; none if it does not.
    pub fn pool(&self) -> impl Iterator<Item = IpNet> {
        pool::of(self.spec)
    }
}

pub(crate) fn admit<'a>(admission: &mut Admission<'a>) -> BTreeMap<&'a str, Anchor<'a>> {
    let mut anchors = BTreeMap::new();
    for (name, spec) in admission.diagnostics.sound(&admission.inventory.anchors) {
        if [clear_of_overlay(admission, name, spec), pool::is_usable(admission, name, spec)].contains(&false) {
            continue;
        }
        let Some(index) = admission.pools.anchors.number(name) else {
            admission.diagnostics.error(
                Kind::Anchor,
                name,
                Reason::PoolExhausted,
                "a fabric has at most 15 anchors: delete one first".to_owned(),
            );
            continue;
        };
        let Some(node) = admission.pools.nodes.number(name) else {
            out_of_nodes(admission, Kind::Anchor, name);
            continue;
        };
        anchors.insert(name, Anchor { name, spec, node, index, incarnation: 0, keys: BTreeMap::new() });
    }
    anchors
}

/// Says that the overlay has no room for the node `name`.
pub(crate) fn out_of_nodes(admission: &mut Admission<'_>, kind: Kind, name: &str) {
    let fabric = &admission.fabric;
    let message = format!(
        "the overlay {} holds {} nodes, all taken: delete a Site or Anchor, or plan a wider overlay (a /16 holds 2047)",
        fabric.overlay,
        fabric.last_node()
    );
    admission.diagnostics.error(kind, name, Reason::PoolExhausted, message);
}

/// Whether the anchor's own networks and endpoints lie outside the overlay, whose addresses never leave the fabric.
fn clear_of_overlay(admission: &mut Admission<'_>, name: &str, spec: &AnchorSpec) -> bool {
    let mut clear = true;
    let endpoints = spec.endpoints.iter().map(|endpoint| ("endpoints", IpNet::from(endpoint.address)));
    let networks = spec.internet.addresses.iter().map(|address| ("internet.addresses", address.trunc()));
    let pool = pool::of(spec).map(|network| ("egress.snat.pool", network));
    for (field, network) in endpoints.chain(networks).chain(pool) {
        if admission.fabric.overlaps(&network) {
            clear = false;
            let overlay = admission.fabric.overlay;
            let message = format!("spec.{field}: {network} overlaps the overlay {overlay}: one of them must move");
            admission.diagnostics.error(Kind::Anchor, name, Reason::OverlayOverlap, message);
        }
    }
    clear
}
