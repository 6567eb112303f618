//! The product: an edge and an anchor as their agents make them, with tunnels or with wires in place of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use pathsteer_bpf::Datapath;
use pathsteer_bpf::layout::Chosen;
use pathsteer_crds::mark;
use pathsteer_crds::plan::PlanObjects;

use super::{Ends, cable};
use crate::inventory::{self, ANCHOR, ENDPOINT, SLOTS, underlay};
use crate::node::{Blank, Folders, Node};
use crate::plan::{plans, wire};

/// What carries shimmed packets between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Veths: no encryption.
    Wires,
    /// Userspace WireGuard, a worker per slot at both ends.
    Wireguard,
}

/// An edge and an anchor that carry the traffic of a client and a server. Their agents have made them and are gone: what
/// is chosen is chosen here, by the map write with which a switching machine does it.
pub struct ShimRig {
    pub ends: Ends,
    pub edge: Node,
    pub anchor: Node,
    pub edge_plan: PlanObjects,
    chosen: BTreeMap<(u32, u8), Chosen>,
    datapath: Datapath,
}

impl ShimRig {
    /// A rig called `name` with `policies` policies.
    ///
    /// # Errors
    /// When an agent does not get there, or nothing passes in the end.
    pub fn build(name: &str, medium: Medium, policies: usize, folders: &Folders) -> Result<ShimRig> {
        let (edge, anchor) = (Blank::new(&format!("{name}-e"))?, Blank::new(&format!("{name}-a"))?);
        let ends = Ends::new(name)?;
        ends.connect((&edge.host, "lan0"), (&anchor.host, "inet0"))?;
        anchor.host.ip(&format!("address add {ENDPOINT}/32 dev lo"))?;
        for slot in SLOTS {
            let (card, far) = (format!("wan{slot}"), format!("far{slot}"));
            cable(&ends.client, (&edge.host, &card), (&anchor.host, &far))?;
            anchor.host.ip(&format!("address add {}/30 dev {far}\nlink set {far} up", underlay(slot).1))?;
            if medium == Medium::Wires {
                cable(&ends.client, (&edge.host, &wire(slot)), (&anchor.host, &wire(slot)))?;
            }
        }
        let identities = [(inventory::site(0), edge.identity.clone()), (ANCHOR.to_owned(), anchor.identity.clone())];
        let inventory = inventory::declare(1, policies, identities.into())?;
        let [mut edge_plan, mut anchor_plan] = plans(&inventory, [&inventory::site(0), ANCHOR])?;
        if medium == Medium::Wires {
            (edge_plan, anchor_plan) = (edge_plan.on_wires()?, anchor_plan.on_wires()?);
        }
        let mut anchor = anchor.become_node(&anchor_plan, folders)?;
        let mut edge = edge.become_node(&edge_plan, folders)?;
        ends.await_passage().with_context(|| format!("rig {name}"))?;
        edge.leave_alone()?;
        anchor.leave_alone()?;
        let datapath = edge.datapath()?;
        let chosen = datapath.maps.chosen()?;
        Ok(ShimRig { ends, edge, anchor, edge_plan: edge_plan.objects(), chosen, datapath })
    }

    /// Sends every class by `active`, with copies by so many of the other slots.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn choose(&mut self, active: u8, copies: usize) -> Result<()> {
        let others = SLOTS.into_iter().filter(|slot| *slot != active).take(copies);
        let copies = others.fold(0, |set, slot| set | mark::copy_bit(slot) as u8);
        for ((remote, class), chosen) in &mut self.chosen {
            *chosen = Chosen { active, copies, counter: chosen.counter + 1, ..Chosen::default() };
            self.datapath.maps.choose(*remote, *class, *chosen)?;
        }
        Ok(())
    }

    /// Processes that encrypt.
    pub fn workers(&self) -> Vec<u32> {
        [self.edge.workers(), self.anchor.workers()].concat()
    }
}
