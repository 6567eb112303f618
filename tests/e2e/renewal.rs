//! Other keys, another version of agent and workers, maps of another layout: all of it under live traffic.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::keys;
use pathsteer_lab::clock;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE};

use crate::stage::{PATIENCE, Stage};
use crate::walk::as_planned;

/// What is begun must be over a second before the traffic ends; each slot takes a few seconds.
const DURATION: Duration = Duration::from_secs(50);
const LONGER: Duration = Duration::from_secs(25);
const SHORT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);
/// See `pathsteer_wireguard::version`.
const VERSION: &str = "PATHSTEER_VERSION";
const RENEWED: &str = "WireGuard renewed";

/// Keys of slots in use and not, of the site and of the anchor; of those in use also while nothing is copied.
pub fn keys(stage: &mut Stage) -> Result<()> {
    stage.nobody_notices(DURATION, |network, fleet, _, zero| {
        clock::sleep_until(zero);
        for (node, slot) in [(EDGE, 1), (ANCHOR_HOST, 1), (EDGE, 2), (ANCHOR_HOST, 2)] {
            rekey(network, fleet, node, slot)?;
        }
        in_time(zero, DURATION)
    })?;
    stage.without_copies()?;
    stage.nobody_notices(LONGER, |network, fleet, _, zero| {
        clock::sleep_until(zero);
        for node in [EDGE, ANCHOR_HOST] {
            rekey(network, fleet, node, 1)?;
        }
        in_time(zero, LONGER)
    })
}

/// Agents of another version start and replace their workers one by one, while nothing is copied; with copies the walk does
/// it.
pub fn versions(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    stage.nobody_notices(DURATION, |network, fleet, _, zero| {
        clock::sleep_until(zero);
        for node in [EDGE, ANCHOR_HOST] {
            upgrade(network, fleet, node)?;
        }
        in_time(zero, DURATION)
    })
}

/// Has the agent of `node` replaced by one of the other version, and its workers by it.
pub fn upgrade(network: &Network, fleet: &mut Fleet, node: &str) -> Result<()> {
    let host = network.host(node);
    let (before, renewed) = (workers(host), said(fleet, node, RENEWED)?);
    let agent = fleet.agent(node)?;
    agent.kill()?;
    if agent.variables.remove(VERSION).is_none() {
        agent.variables.insert(VERSION.to_owned(), "0.1.1-next".to_owned());
    }
    agent.restart()?;
    clock::wait_for("every worker is of the new version", PATIENCE, LOOK, || {
        Ok(said(fleet, node, RENEWED)? >= renewed + before.len())
    })
    .with_context(|| format!("{node}: {before:?}, {:?}", workers(host)))?;
    let after = workers(host);
    ensure!(after.len() == before.len() && after.is_disjoint(&before), "{node}: {before:?}, then {after:?}");
    as_planned(fleet)
}

/// One of the maps looks otherwise than this version's.
const OTHER_SHAPE: &str = "rm ps_ack; bpftool map create ps_ack type ringbuf key 0 value 0 entries 4096 name ps_ack";

/// None of them does.
pub const ALIKE: &str = "true";

/// Agents find what another version has pinned, which fits.
pub fn layout(stage: &mut Stage) -> Result<()> {
    stage.nobody_notices(SHORT, |network, fleet, _, zero| relaid(network, fleet, zero, ALIKE))
}

/// And what does not fit. New windows do not know what has come already, so what came by one path and is still under way on
/// the other comes twice: of either node's, some 20 ms of a packet a millisecond.
pub fn other_layout(stage: &mut Stage) -> Result<()> {
    stage.nothing_is_lost(SHORT, 60, |network, fleet, _, zero| relaid(network, fleet, zero, OTHER_SHAPE))
}

fn relaid(network: &Network, fleet: &mut Fleet, zero: Duration, script: &str) -> Result<()> {
    clock::sleep_until(zero);
    for node in [EDGE, ANCHOR_HOST] {
        relay(network, fleet, node, script)?;
    }
    in_time(zero, SHORT)
}

/// Has an agent of `node` start that finds the maps where another version pins them, after `script` has run there.
pub fn relay(network: &Network, fleet: &mut Fleet, node: &str, script: &str) -> Result<()> {
    let (host, agent) = (network.host(node), fleet.agent(node)?);
    agent.kill()?;
    host.output("sh", &["-ec", &format!("cd /sys/fs/bpf/pathsteer; mv v* v0; cd v0; {script}")])?;
    agent.restart()?;
    let folder = || host.output("ls", &["/sys/fs/bpf/pathsteer"]);
    clock::wait_for("maps of its own order", PATIENCE, LOOK, || {
        Ok(folder().is_ok_and(|all| !all.split_whitespace().any(|one| one == "v0") && all.contains('v')))
    })?;
    as_planned(fleet)
}

/// Gives the uplink in `slot` of `node` another key, and returns once that is in use.
pub fn rekey(network: &Network, fleet: &Fleet, node: &str, slot: u8) -> Result<()> {
    let host = network.host(node);
    let (renewed, before, worker) = (said(fleet, node, RENEWED)?, key(fleet, node, slot)?, workers(host));
    let printed = fleet.agent_command(host, &["rotate-key", "--slot", &slot.to_string()])?;
    clock::wait_for("the new key is in use", PATIENCE, LOOK, || Ok(said(fleet, node, RENEWED)? > renewed))
        .with_context(|| format!("slot {slot} of {node}"))?;
    let after = key(fleet, node, slot)?;
    ensure!(after != before && printed.contains(&after), "{node} slot {slot}: {before}, then {after}; {printed}");
    ensure!(workers(host).difference(&worker).count() == 1, "{node}: not one worker is new");
    as_planned(fleet)
}

/// The slot's public key, as the operator knows it.
fn key(fleet: &Fleet, node: &str, slot: u8) -> Result<String> {
    let text = fleet.etcdctl(&["get", "--print-value-only", &keys::identity(node)])?;
    let identity: NodeIdentity = serde_json::from_str(&text).with_context(|| text.clone())?;
    identity.wireguard_keys.get(&slot).cloned().with_context(|| format!("{node} has no key for slot {slot}"))
}

fn workers(host: &Host) -> BTreeSet<u32> {
    host.processes(&["pathsteer-agent", "wireguard"]).into_iter().collect()
}

/// How often the agent of `node` has said so.
fn said(fleet: &Fleet, node: &str, words: &str) -> Result<usize> {
    let agents = fleet.daemons().filter(|daemon| daemon.name().ends_with(node));
    Ok(agents.flat_map(|agent| agent.last_lines(usize::MAX)).filter(|line| line.contains(words)).count())
}

fn in_time(zero: Duration, duration: Duration) -> Result<()> {
    let took = clock::now() - zero;
    ensure!(took + Duration::from_secs(1) < duration, "it took {took:?}, longer than the traffic");
    Ok(())
}
