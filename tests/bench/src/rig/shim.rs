//! The product: an edge and an anchor as their agents make them, with tunnels or with wires in place of them.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pathsteer_bpf::layout::{Chosen, Config};
use pathsteer_bpf::{Datapath, offload};
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_LINK, VIP_NETNS, uplink_netns};
use pathsteer_crds::plan::PlanObjects;

use super::{Ends, cable};
use crate::inventory::{self, ANCHOR, ENDPOINT, SLOTS, underlay};
use crate::node::{Blank, Folders, Node};
use crate::plan::{plans, wire};
use crate::processor;

/// What the kernel gives a new interface (GSO_MAX_SEGS).
const MOST_SEGMENTS: u32 = 65_535;

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
    /// Resident bytes of the agents when everything was as declared: the edge's, the anchor's.
    pub agents: [u64; 2],
    /// Whether the agents' self-tests let big sends pass the shim in one piece.
    pub allowed_whole: bool,
    chosen: BTreeMap<(u32, u8), Chosen>,
    datapath: Datapath,
    anchor_datapath: Datapath,
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
        let agents = [processor::resident(edge.pid())?, processor::resident(anchor.pid())?];
        edge.leave_alone()?;
        anchor.leave_alone()?;
        let (datapath, anchor_datapath) = (edge.datapath()?, anchor.datapath()?);
        let chosen = datapath.maps.chosen()?;
        let edge_plan = edge_plan.objects();
        let mut rig =
            ShimRig { ends, edge, anchor, edge_plan, agents, allowed_whole: false, chosen, datapath, anchor_datapath };
        rig.allowed_whole = rig.is_whole()?;
        Ok(rig)
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

    /// Whether big sends pass the shim in one piece, at both ends. A node that starts decides that by its self-test.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_whole(&self) -> Result<bool> {
        Ok(self.datapath.maps.config()?.gso == 1 && self.anchor_datapath.maps.config()?.gso == 1)
    }

    /// Lets big sends pass the shim in one piece or not, as the agent does: none is ever whole where it may not be.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pass_whole(&mut self, whole: bool) -> Result<()> {
        let ends =
            [(&mut self.datapath, &self.edge, VIP_NETNS), (&mut self.anchor_datapath, &self.anchor, ANCHOR_NETNS)];
        for (datapath, node, netns) in ends {
            let config = Config { gso: whole.into(), ..datapath.maps.config()? };
            let take = |segments: u32| run(node, netns, "ip", &format!("link set {SHIM_LINK} gso_max_segs {segments}"));
            if whole {
                node.within(netns, || Ok(offload::limit(SHIM_LINK)?))?;
                datapath.maps.set_config(config)?;
                take(MOST_SEGMENTS)?;
            } else {
                take(1)?;
                datapath.maps.set_config(config)?;
            }
        }
        Ok(())
    }

    /// Empties every nft table, to see what the rules cost. Routes, rules and programs still lead single packets.
    ///
    /// # Errors
    /// What nft says.
    pub fn empty_nft(&self) -> Result<()> {
        let uplinks = SLOTS.map(|slot| (&self.edge, uplink_netns(slot)));
        let rest = [(&self.edge, VIP_NETNS.to_owned()), (&self.anchor, ANCHOR_NETNS.to_owned())];
        uplinks.into_iter().chain(rest).try_for_each(|(node, netns)| run(node, &netns, "nft", "flush ruleset"))
    }

    /// Processes that encrypt.
    pub fn workers(&self) -> Vec<u32> {
        [self.edge.workers(), self.anchor.workers()].concat()
    }
}

/// Runs `program` in the node's namespace called `netns`.
fn run(node: &Node, netns: &str, program: &str, words: &str) -> Result<()> {
    node.within(netns, || {
        let done = Command::new(program).args(words.split(' ')).status()?;
        ensure!(done.success(), "`{program} {words}` in {netns} failed");
        Ok(())
    })
}
