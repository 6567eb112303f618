//! Manifests that differ from the example's in what a case needs.

use anyhow::Result;
use pathsteer_lab::network::plan::{ANCHOR, ANCHOR6, EDGE, Uplink};

use crate::stage::{Stage, out};

/// The example's manifest of `uplink` with more `fields`, such as `mtu: 1400`.
pub fn uplink(uplink: &Uplink, fields: &str) -> String {
    let Uplink { slot, name, card, .. } = uplink;
    format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {{site: {EDGE}, name: {name}}}
spec: {{slot: {slot}, kind: {name}, interface: {card}, address: dhcp, cost: {slot}0, {fields}}}
"
    )
}

/// The example's anchor, which can be reached over both families, in a network of this MTU.
pub fn anchor(mtu: u16) -> String {
    format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Anchor
metadata: {{name: dal-a}}
spec:
  endpoints: [{{address: {ANCHOR}}}, {{address: \"{ANCHOR6}\"}}]
  mtu: {mtu}
  internet: {{interface: inet0, addresses: [198.51.100.1/24, \"2001:db8:51::1/64\"], gateways: []}}
  egress: routed
"
    )
}

/// Every packet over so many further paths.
pub fn copies(copies: u8) -> String {
    format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Mode
metadata: {{name: fleet}}
spec: {{mode: mirror, copies: {copies}}}
"
    )
}

/// Applies `manifests` and waits until they are carried out.
///
/// # Errors
/// When the operator refuses them, or a node cannot.
pub fn apply(stage: &mut Stage, manifests: &[String]) -> Result<()> {
    let path = out().join("shape.yaml");
    std::fs::write(&path, manifests.join("---\n"))?;
    stage.fleet.cli(&["apply", "-f", &path.to_string_lossy()])?;
    stage.ready()
}
