//! What the nodes count, and by how much it has risen.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use pathsteer_crds::ownership::{ANCHOR_NETNS, NFT_TABLE, VIP_NETNS, uplink_netns};
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS};
use serde_json::Value;

use crate::kernel::shell;
use crate::stage::Stage;

/// What is not a reason to drop: it rises with every honest packet.
const HONEST: [&str; 4] = ["sent", "whole", "delivered", "control"];

/// A counter: node, place and name. The shim's place is `shim` with the remote's index, nft's its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    pub node: &'static str,
    pub place: String,
    pub name: String,
}

impl Reason {
    /// Of the anchor's shim for packets of the remote with that index; 0 where it knows none.
    pub fn shim(remote: u32, name: &str) -> Reason {
        Reason { node: ANCHOR_HOST, place: format!("shim {remote}"), name: name.into() }
    }

    /// Of the nft table in a namespace of `node`.
    pub fn nft(node: &'static str, netns: &str, name: &str) -> Reason {
        Reason { node, place: netns.into(), name: name.into() }
    }
}

/// Packets by why they were dropped.
pub type Tally = BTreeMap<Reason, u64>;

/// What both nodes have counted up to now.
pub fn tally(stage: &Stage) -> Result<Tally> {
    let mut all = Tally::new();
    for node in [EDGE, ANCHOR_HOST] {
        shim(stage, node, &mut all)?;
    }
    nft(stage, ANCHOR_HOST, ANCHOR_NETNS, &mut all)?;
    nft(stage, EDGE, VIP_NETNS, &mut all)?;
    UPLINKS.iter().try_for_each(|uplink| nft(stage, EDGE, &uplink_netns(uplink.slot), &mut all))?;
    Ok(all)
}

/// What `after` has more than `before`.
pub fn risen(before: &Tally, after: &Tally) -> Tally {
    let more = |(reason, count): (&Reason, &u64)| {
        let more = count - before.get(reason).copied().unwrap_or(0);
        (more > 0).then(|| (reason.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

fn shim(stage: &Stage, node: &'static str, all: &mut Tally) -> Result<()> {
    let answer = stage.fleet.agent_command(stage.network.host(node), &["observe", "--counters", "-o", "json"])?;
    let remotes: BTreeMap<u32, BTreeMap<String, u64>> =
        serde_json::from_str(&answer).with_context(|| format!("reading the counters of {node}: {answer}"))?;
    for (remote, counters) in remotes {
        let reasons = counters.into_iter().filter(|(name, _)| !HONEST.contains(&name.as_str()));
        all.extend(reasons.map(|(name, count)| (Reason { node, place: format!("shim {remote}"), name }, count)));
    }
    Ok(())
}

fn nft(stage: &Stage, node: &'static str, netns: &str, all: &mut Tally) -> Result<()> {
    let listed = shell(stage.network.host(node), netns, &format!("nft -j list counters table inet {NFT_TABLE}"))?;
    let listed: Value = serde_json::from_str(&listed)?;
    for counter in listed["nftables"].as_array().into_iter().flatten().filter_map(|one| one.get("counter")) {
        let name = counter["name"].as_str().context("a counter without a name")?;
        let packets = counter["packets"].as_u64().context("a counter without packets")?;
        all.insert(Reason::nft(node, netns, name), packets);
    }
    Ok(())
}
