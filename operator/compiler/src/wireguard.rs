//! WireGuard interfaces and peers.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use pathsteer_crds::Kind;
use pathsteer_crds::ownership::{ANCHOR_NETNS, anchor_tunnel, edge_tunnel, uplink_netns};
use pathsteer_crds::plan::{Family, PlanObjects, WireguardDeviceSpec, WireguardPeerSpec};

use crate::anchor::Anchor;
use crate::diagnostics::Diagnostics;
use crate::fabric::Fabric;
use crate::reason::Reason;
use crate::resolve::{Common, Resolved};
use crate::site::Site;

/// An edge listens on this plus the anchor's index, each uplink in its own namespace.
const EDGE_PORT_BASE: u16 = 51_820;
/// Under the 30 s after which the most impatient NATs forget a UDP flow.
const KEEPALIVE_SECONDS: u16 = 20;

pub(crate) fn edge(common: &Common<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    for uplink in &site.uplinks {
        let slot = uplink.spec.slot;
        for anchor in common.anchors_of(site) {
            let link = edge_tunnel(slot, anchor.index);
            plan.wireguard_devices.push(WireguardDeviceSpec {
                slot,
                netns: uplink_netns(slot),
                link: link.clone(),
                underlay_netns: uplink_netns(slot),
                listen_port: EDGE_PORT_BASE + u16::from(anchor.index),
            });
            let keys = both(&site.keys, &anchor.keys, slot);
            if let (Some((_, key)), Some(endpoint)) = (keys, uplink.endpoint(anchor)) {
                plan.wireguard_peers.push(WireguardPeerSpec {
                    link,
                    public_key: key.to_owned(),
                    node: anchor.name.to_owned(),
                    endpoint: Some(endpoint),
                    allowed_ips: allowed_ips(&common.fabric, anchor.node, slot),
                    keepalive_seconds: KEEPALIVE_SECONDS,
                });
            }
        }
    }
}

/// One interface per slot: allowed IPs are unique per interface, and every site has the same in each slot.
pub(crate) fn anchor(resolved: &Resolved<'_>, anchor: &Anchor<'_>, plan: &mut PlanObjects) {
    plan.wireguard_devices.extend(resolved.slots_of(anchor).into_iter().map(|slot| WireguardDeviceSpec {
        slot,
        netns: ANCHOR_NETNS.to_owned(),
        link: anchor_tunnel(slot),
        underlay_netns: String::new(),
        listen_port: anchor.port(slot),
    }));
}

pub(crate) fn anchor_for_site(common: &Common<'_>, anchor: &Anchor<'_>, site: &Site<'_>, plan: &mut PlanObjects) {
    for slot in site.slots() {
        if let Some((key, _)) = both(&site.keys, &anchor.keys, slot) {
            plan.wireguard_peers.push(WireguardPeerSpec {
                link: anchor_tunnel(slot),
                public_key: key.to_owned(),
                node: site.name.to_owned(),
                endpoint: None,
                allowed_ips: allowed_ips(&common.fabric, site.node, slot),
                keepalive_seconds: 0,
            });
        }
    }
}

/// Says which uplinks have no address family in common with an anchor, or not the one they prefer; and which sites no
/// uplink connects to any.
pub(crate) fn diagnose(resolved: &Resolved<'_>, diagnostics: &mut Diagnostics) {
    for site in resolved.sites.values() {
        let reaches = |anchor: &Anchor<'_>| site.uplinks.iter().any(|uplink| uplink.endpoint(anchor).is_some());
        if !site.uplinks.is_empty() && !resolved.common.anchors_of(site).any(reaches) {
            let anchors: Vec<String> = site.spec.anchors.iter().map(|anchor| format!("`{anchor}`")).collect();
            let message = format!(
                "none of its uplinks has an address family that {} has an endpoint of: no tunnel at all; give an Anchor an endpoint of the other family, or the site an uplink of it",
                anchors.join(" or ")
            );
            diagnostics.warning(Kind::Site, site.name, Reason::NoAnchor, message);
        }
        for uplink in &site.uplinks {
            let key = format!("{}/{}", site.name, uplink.name);
            let mut warn = |reason, message| diagnostics.warning(Kind::Uplink, &key, reason, message);
            for anchor in resolved.common.anchors_of(site) {
                let name = anchor.name;
                match (uplink.endpoint(anchor).map(|endpoint| endpoint.is_ipv6()), uplink.spec.underlay) {
                    (None, _) => warn(
                        Reason::NoCommonFamily,
                        format!(
                            "Anchor `{name}` has no endpoint of an address family this uplink has: no tunnel to it; add an endpoint"
                        ),
                    ),
                    (Some(v6), Some(wanted)) if v6 != (wanted == Family::Ipv6) => warn(
                        Reason::OtherFamily,
                        format!(
                            "its tunnel to Anchor `{name}` runs over the other family than `underlay` says: one of the two ends has no other"
                        ),
                    ),
                    _ => {}
                }
            }
        }
    }
}

/// The site's and the anchor's key of `slot`, once both are known: a tunnel with one end is none.
fn both<'a>(site: &BTreeMap<u8, &'a str>, anchor: &BTreeMap<u8, &'a str>, slot: u8) -> Option<(&'a str, &'a str)> {
    Some((*site.get(&slot)?, *anchor.get(&slot)?))
}

fn allowed_ips(fabric: &Fabric<'_>, node: u32, slot: u8) -> Vec<Ipv4Net> {
    vec![fabric.shim_endpoint(node).into(), fabric.probe_address(node, slot).into()]
}
