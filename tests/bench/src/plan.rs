//! Plans as agents keep them, compiled from what is declared; and the same with veths where the tunnels were.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use pathsteer_compiler::{CompiledPlan, Inventory, compile};
use pathsteer_crds::plan::{
    LinkKind, NODE_SCOPE, NeighbourSpec, PLAN_VERSION, PlanObjects, PlanRoot, Program, Role, split,
};
use pathsteer_crds::{canonical, ownership};

use crate::inventory::SLOTS;

/// The card that stands where the tunnel of `slot` was, at both ends.
pub fn wire(slot: u8) -> String {
    format!("wire{slot}")
}

/// One node's plan.
#[derive(Debug, Clone)]
pub struct Plan {
    pub node: String,
    compiled: CompiledPlan,
}

/// The plans of `nodes`.
///
/// # Errors
/// When one of them has none.
pub fn plans<const N: usize>(inventory: &Inventory, nodes: [&str; N]) -> Result<[Plan; N]> {
    let mut compiled = compile(inventory);
    let diagnostics = std::mem::take(&mut compiled.diagnostics);
    let mut found = Vec::with_capacity(N);
    for node in nodes {
        let plan = compiled.plans.remove(node).with_context(|| format!("{node} has no plan: {diagnostics:?}"))?;
        found.push(Plan { node: node.to_owned(), compiled: plan });
    }
    found.try_into().ok().context("a plan per node")
}

impl Plan {
    pub fn objects(&self) -> PlanObjects {
        self.compiled.objects()
    }

    /// The plan as an agent keeps it on disk.
    pub fn saved(&self) -> String {
        let fragments = split(&self.compiled.scopes);
        let hash = |json: &String| canonical::sha256(json.as_bytes());
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: self.node.clone(),
            role: self.compiled.role,
            store_epoch: 1,
            generation: 1,
            fragments: fragments.iter().map(|(name, json)| (name.clone(), hash(json))).collect(),
        };
        let by_hash: BTreeMap<String, String> = fragments.into_values().map(|json| (hash(&json), json)).collect();
        serde_json::json!({"revision": 1, "root": root, "fragments": by_hash}).to_string()
    }

    /// The same node without encryption: [`wire`]s stand where its tunnels were. Everything else stays as compiled.
    ///
    /// # Errors
    /// When the plan cannot be read back.
    pub fn on_wires(&self) -> Result<Plan> {
        let anchor_side = self.compiled.role == Role::Anchor;
        let mut objects = self.objects();
        let far_ends = far_ends(&objects);
        objects.wireguard_devices.clear();
        objects.wireguard_peers.clear();
        for program in &mut objects.programs {
            if program.program == Program::DecapIp {
                // a wire has a link layer
                program.program = Program::DecapEthernet;
            }
        }
        for slot in SLOTS {
            let link = tunnel_of(slot, anchor_side);
            for found in objects.links.iter_mut().filter(|found| found.name == link) {
                (found.kind, found.mac) = (LinkKind::Nic, Some(mac(slot, anchor_side)));
                // what a tunnel finds by its AllowedIPs, a wire finds by its neighbours
                let behind = far_ends.iter().filter(|(tunnel, _)| *tunnel == link);
                objects.neighbours.extend(behind.map(|(_, address)| NeighbourSpec {
                    netns: found.netns.clone(),
                    link: link.clone(),
                    address: (*address).into(),
                    mac: mac(slot, !anchor_side),
                }));
            }
        }
        let mut text = serde_json::to_string(&objects)?;
        for slot in SLOTS {
            let tunnel = format!("\"{}\"", tunnel_of(slot, anchor_side));
            text = text.replace(&tunnel, &format!("\"{}\"", wire(slot)));
        }
        let mut objects: PlanObjects = serde_json::from_str(&text)?;
        objects.sort();
        let scopes = BTreeMap::from([(NODE_SCOPE.to_owned(), Arc::new(objects))]);
        Ok(Plan { node: self.node.clone(), compiled: CompiledPlan { role: self.compiled.role, scopes } })
    }
}

/// The tunnel of `slot` by its name in a plan; the site has one anchor, so its index is 1.
fn tunnel_of(slot: u8, anchor_side: bool) -> String {
    if anchor_side { ownership::anchor_tunnel(slot) } else { ownership::edge_tunnel(slot, 1) }
}

fn mac(slot: u8, anchor_side: bool) -> String {
    format!("02:70:73:09:{:02x}:{slot:02x}", u8::from(anchor_side))
}

/// Addresses of the other nodes inside the tunnels, with the link by which each is reached.
fn far_ends(objects: &PlanObjects) -> Vec<(String, std::net::Ipv4Addr)> {
    let peers = objects.wireguard_peers.iter();
    let mut all: Vec<_> =
        peers.flat_map(|peer| peer.allowed_ips.iter().map(|network| (peer.link.clone(), network.addr()))).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory;

    #[test]
    fn what_is_declared_compiles_without_a_fault() {
        let inventory = inventory::declare(3, 8, BTreeMap::new()).unwrap();
        let compiled = compile(&inventory);
        assert_eq!(compiled.diagnostics, []);
        assert_eq!(compiled.plans.len(), 4);
    }
}
