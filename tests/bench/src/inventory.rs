//! What is declared for a measurement: an anchor, sites with three uplinks each, and as many policies as wanted.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pathsteer_compiler::Inventory;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::manifest;

/// The anchor's name.
pub const ANCHOR: &str = "anchor";
/// Where sites find it.
pub const ENDPOINT: &str = "203.0.113.10";
/// Slots of every site.
pub const SLOTS: [u8; 3] = [1, 2, 3];

/// The name of the site with this number, counting from 0.
pub fn site(number: usize) -> String {
    format!("site-{number:03}")
}

/// The edge's address on the card of `slot`, and its gateway, which is the anchor.
pub fn underlay(slot: u8) -> (String, String) {
    (format!("192.0.2.{}", 4 * slot + 1), format!("192.0.2.{}", 4 * slot + 2))
}

/// An inventory with `sites` sites (at most 4,096, the first one with the client behind it) and `policies` policies that
/// none of the measured traffic matches. Who is not in `identities` gets keys that nobody has.
///
/// # Errors
/// When a manifest is wrong.
pub fn declare(sites: usize, policies: usize, identities: BTreeMap<String, NodeIdentity>) -> Result<Inventory> {
    let mut text = fabric_and_anchor();
    for number in 0..sites {
        text += &site_with_uplinks(number);
    }
    for number in 0..policies {
        text += &policy(number);
    }
    let located = manifest::parse(&text, "declared").map_err(|errors| anyhow!("{errors:?}"))?;
    let mut inventory = Inventory { identities, ..Inventory::default() };
    located.into_iter().for_each(|one| inventory.insert(one.object));
    let names = (0..sites).map(site).chain([ANCHOR.to_owned()]);
    for (number, name) in names.enumerate() {
        inventory.identities.entry(name).or_insert_with(|| stranger(number));
    }
    Ok(inventory)
}

fn fabric_and_anchor() -> String {
    format!(
        r#"
apiVersion: pathsteer.io/v1alpha1
kind: Fabric
metadata: {{name: default}}
spec: {{overlay: 10.100.0.0/16}}
---
apiVersion: pathsteer.io/v1alpha1
kind: Anchor
metadata: {{name: {ANCHOR}}}
spec:
  endpoints: [{{address: {ENDPOINT}}}]
  internet: {{interface: inet0, addresses: [198.51.100.1/24, "2001:db8:51::1/64"]}}
"#
    )
}

fn site_with_uplinks(number: usize) -> String {
    let name = site(number);
    // 172.16.7.0/24 is the client's
    let (high, low) = (16 + (number + 7) / 256, (number + 7) % 256);
    let mut text = format!(
        r#"
---
apiVersion: pathsteer.io/v1alpha1
kind: Site
metadata: {{name: {name}}}
spec: {{anchors: [{ANCHOR}], prefixes: [172.{high}.{low}.0/24, "2001:db8:{v6:x}::/64"]}}
---
apiVersion: pathsteer.io/v1alpha1
kind: Vlan
metadata: {{site: {name}, name: lan}}
spec: {{interface: lan0, addresses: [172.{high}.{low}.1/24, "2001:db8:{v6:x}::1/64"]}}
"#,
        // 2001:db8:51::/64 is the server's
        v6 = if number == 0 { 7 } else { 0x1000 + number },
    );
    for slot in SLOTS {
        let (address, gateway) = underlay(slot);
        let _ = write!(
            text,
            r#"
---
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {{site: {name}, name: wan{slot}}}
spec:
  slot: {slot}
  kind: ethernet
  interface: wan{slot}
  address: {{static: {{addresses: [{address}/30], gateways: [{gateway}]}}}}
  cost: {cost}
"#,
            cost = 10 * slot,
        );
    }
    text
}

/// The four ways in which policies commonly name flows, in turn, each with a network of its own.
fn policy(number: usize) -> String {
    let (high, low) = (number / 256, number % 256);
    let network = format!("11.{high}.{low}.0/24");
    let flows = match number % 4 {
        0 => format!("{{protocol: tcp, prefix: {network}, ports: [\"443\"]}}"),
        1 => format!("{{protocol: udp, prefix: {network}, ports: [\"10000-20000\"]}}"),
        2 => format!("{{prefix: {network}}}"),
        _ => format!("{{prefix: {network}, dscp: 46}}"),
    };
    format!(
        r#"
---
apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {{name: policy-{number:04}}}
spec:
  match: [{flows}]
"#
    )
}

/// Keys of a node that does not exist: only their number matters.
fn stranger(number: usize) -> NodeIdentity {
    let key = |slot: u8| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        (bytes[8], bytes[9]) = (slot, 1);
        STANDARD.encode(bytes)
    };
    NodeIdentity { wireguard_keys: SLOTS.map(|slot| (slot, key(slot))).into(), incarnation: 1 }
}
