//! A site that is deleted leaves nothing: neither on the anchors nor, after a teardown, on its own node.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{ANCHOR_HOST, CHI_A, CLINIC_3, MANY};

use crate::dump;
use crate::stage::{LAST, Stage, with_maps};

/// Everything in an anchor's kernel, and its workers, that belongs to sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Links, routes, rules, tables and programs, as the usual tools tell them.
    kernel: BTreeSet<String>,
    /// Peers of the workers, remotes and prefixes of the maps, as the agent tells them.
    agent: PlanObjects,
    /// Remotes and classes in the maps, and with them their windows and sequences.
    maps: BTreeSet<(u32, Vec<u8>)>,
    workers: usize,
}

/// Of both anchors.
pub fn traces(stage: &Stage) -> Result<Vec<Trace>> {
    [ANCHOR_HOST, CHI_A].map(|name| trace(stage, stage.network.host(name))).into_iter().collect()
}

fn trace(stage: &Stage, anchor: &Host) -> Result<Trace> {
    let observed = stage.fleet.agent_command(anchor, &["observe", "-o", "json"])?;
    Ok(Trace {
        kernel: dump::ours(anchor)?.lines().map(str::to_owned).collect(),
        agent: serde_json::from_str(&observed).context(observed)?,
        maps: with_maps(anchor, |maps| {
            Ok(maps.remotes()?.into_iter().map(|(id, (_, classes))| (id, classes)).collect())
        })?,
        workers: workers(anchor),
    })
}

pub fn case(stage: &mut Stage) -> Result<()> {
    let clinic = stage.index(CLINIC_3)?;
    let with = traces(stage)?;
    for (trace, before) in with.iter().zip(&stage.before) {
        ensure!(trace.maps.len() == before.maps.len() + 1, "the clinic has come to no map: {:?}", trace.maps);
        ensure!(trace.agent.wireguard_peers.len() == before.agent.wireguard_peers.len() + 2, "nor to the workers");
    }
    let memory = |node: &Host| with_maps(node, |maps| Ok(maps.memory(clinic)?));
    let bytes = memory(stage.network.host(ANCHOR_HOST))?;
    ensure!(bytes > 0, "the clinic takes no memory");

    stage.fleet.cli(&["delete", "-f", LAST])?;
    let before = stage.before.clone();
    stage
        .until("the anchors are as they were before the site", |stage| Ok(traces(stage)? == before))
        .with_context(|| differences(stage, &before))?;
    for anchor in [ANCHOR_HOST, CHI_A].map(|name| stage.network.host(name)) {
        // Its sequences stay, should it come back before its node has heard that it was gone.
        let left = memory(anchor)?;
        ensure!(left * 10 < bytes, "{} still keeps windows of it: {left} of {bytes} bytes", anchor.name);
        let learned = with_maps(anchor, |maps| {
            let chosen = maps.chosen()?.into_keys();
            Ok(maps.learned()?.into_keys().chain(chosen).filter(|(id, _)| *id == clinic).count())
        })?;
        ensure!(learned == 0, "{} still knows a path to it", anchor.name);
    }

    stage.fleet.agent(CLINIC_3)?.kill()?;
    let node = stage.network.host(CLINIC_3);
    let said = stage.fleet.agent_command(node, &["teardown"])?;
    nothing_of_ours(node).with_context(|| format!("teardown said {}", said.trim()))?;
    stage.remark(format!("{bytes} bytes of maps given back by each anchor; {}", said.trim()));
    Ok(())
}

/// What is more and what is less than before.
fn differences(stage: &Stage, before: &[Trace]) -> String {
    let Ok(now) = traces(stage) else { return "an anchor does not answer".into() };
    let each = now.iter().zip(before).map(|(now, before)| {
        let (more, less) = (&now.kernel - &before.kernel, &before.kernel - &now.kernel);
        let same = now.agent == before.agent;
        format!("more: {more:#?}\nless: {less:#?}\nthe agent sees the same: {same}; {} workers", now.workers)
    });
    each.collect::<Vec<_>>().join("\n")
}

/// The cards are back, and there is not a trace of us.
fn nothing_of_ours(node: &Host) -> Result<()> {
    let ours = dump::ours(node)?;
    ensure!(ours.is_empty(), "left are {ours}");
    let site = MANY.site(CLINIC_3);
    let cards = site.segments.iter().map(|segment| segment.card).chain(site.uplinks.iter().map(|uplink| uplink.card));
    let links = dump::ip(node, "", "link")?;
    let names: Vec<&str> = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    for card in cards {
        ensure!(names.contains(&card), "{card} has not come back: {names:?}");
    }
    ensure!(!names.iter().any(|name| name.starts_with("ps")), "links are {names:?}");
    for family in ["-4", "-6"] {
        let routes = node.output("ip", &[family, "route", "show", "table", "all", "proto", "77"])?;
        ensure!(routes.is_empty(), "routes are {routes}");
        let rules = node.output("ip", &[family, "rule", "show"])?;
        ensure!(!rules.lines().any(|line| line.starts_with("77") || line.starts_with("79")), "rules are {rules}");
    }
    let tables = node.output("nft", &["list", "tables"])?;
    ensure!(!tables.contains("pathsteer"), "nft has {tables}");
    let pins = node.output("ls", &["/sys/fs/bpf"])?;
    ensure!(!pins.contains("pathsteer"), "pins are {pins}");
    ensure!(workers(node) == 0, "a worker is left");
    Ok(())
}

fn workers(node: &Host) -> usize {
    node.processes(&["pathsteer-agent", "wireguard", "--config"]).len()
}
