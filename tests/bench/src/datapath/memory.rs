//! Memory per site, of an anchor with 500 sites that its agent has really made: windows at their declared width, peers
//! in every worker, the agent itself.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{ArrayOfMaps, Map, MapData, MapError};
use pathsteer_crds::ownership::BPF_FOLDER;

use super::rigs::Rigs;
use crate::inventory::{self, ANCHOR, ENDPOINT, SLOTS};
use crate::node::{Blank, Node};
use crate::plan::plans;
use crate::processor::resident;
use crate::report::Row;
use crate::rig::{Ends, Medium};
use crate::series::load;

/// Sites of a large fleet's anchor.
const SITES: usize = 500;
const KIB: f64 = 1_024.0;

/// # Errors
/// When the anchor cannot be made.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    let blank = Blank::new("many-a")?;
    let ends = Ends::new("many")?;
    crate::rig::cable(&ends.server, (&ends.server, "eth0"), (&blank.host, "inet0"))?;
    blank.host.ip(&format!("address add {ENDPOINT}/32 dev lo"))?;
    let identities = [(ANCHOR.to_owned(), blank.identity.clone())];
    let inventory = inventory::declare(SITES, 1, identities.into())?;
    let [plan] = plans(&inventory, [ANCHOR])?;
    let objects = plan.objects();
    let peers = objects.wireguard_peers.len();
    ensure!(peers == SITES * SLOTS.len(), "{peers} peers are planned");
    let node = blank.become_node(&plan, &rigs.folders)?;

    let one = rigs.shim(Medium::Wireguard)?;
    let one = one.borrow();
    let load = load()?;
    let maps = kernel_memory(&node)?;
    let (windows, sequences) = (maps["ps_window"], maps["ps_sequence"]);
    let classes = windows.maps as f64 / SITES as f64;
    ensure!(windows.maps >= SITES && windows.maps == sequences.maps, "{} windows for {SITES} sites", windows.maps);
    let few = kernel_memory(&one.anchor)?;
    let rest = |of: &BTreeMap<String, Held>| {
        of.iter()
            .filter(|(name, _)| !["ps_window", "ps_sequence"].contains(&name.as_str()))
            .map(|(_, held)| held.bytes)
            .sum::<u64>()
    };
    let workers = node.workers();
    ensure!(workers.len() == SLOTS.len(), "{} workers", workers.len());
    let many_peers = mean(&workers)?;
    let few_peers = mean(&one.anchor.workers())?;
    let per_peer = (many_peers - few_peers) / (SITES - 1) as f64;
    let agent = resident(node.pid())? as f64;
    let [edge_agent, anchor_agent] = one.agents.map(|bytes| bytes as f64 / KIB);

    let row = |what: &str, unit: &str, value: f64| Row {
        n: SITES,
        ..Row::read(format!("memory per site: {what}"), unit, value, load)
    };
    let per_site = |bytes: u64| bytes as f64 / SITES as f64 / KIB;
    let total = per_site(windows.bytes + sequences.bytes) + SLOTS.len() as f64 * per_peer / KIB;
    Ok(vec![
        row("windows", "KiB", per_site(windows.bytes))
            .noted(format!("{} bytes in all, {classes} classes a site", windows.bytes)),
        row("sequences", "KiB", per_site(sequences.bytes)),
        row("other maps, 500 sites", "KiB", rest(&maps) as f64 / KIB)
            .noted(format!("{:.0} with 1 site", rest(&few) as f64 / KIB)),
        row("a peer in a worker", "KiB", per_peer / KIB).noted(format!(
            "{:.0} KiB with {SITES} peers, {:.0} with 1",
            many_peers / KIB,
            few_peers / KIB
        )),
        row("the agent, 500 sites", "KiB", agent / KIB).noted(format!(
            "{anchor_agent:.0} KiB with 1 site, {edge_agent:.0} at an edge; once a node, not in the sum"
        )),
        row("all of it, 3 slots", "KiB", total)
            .noted(format!("{:.0} MiB for {SITES} sites", total * SITES as f64 / KIB)),
    ])
}

/// What maps of one name hold.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: u64,
    /// Inner maps of a map in maps.
    maps: usize,
}

/// What the kernel keeps for every pinned map of `node` and the maps inside of it.
fn kernel_memory(node: &Node) -> Result<BTreeMap<String, Held>> {
    node.host.inside(|| {
        let mut all = BTreeMap::new();
        for version in std::fs::read_dir(Path::new("/sys/fs/bpf").join(BPF_FOLDER))? {
            for pin in std::fs::read_dir(version?.path())? {
                let pin = pin?;
                if pin.file_type()?.is_dir() {
                    continue;
                }
                let map = MapData::from_pin(pin.path()).with_context(|| format!("opening {:?}", pin.path()))?;
                let mut held = Held { bytes: locked(&map)?, maps: 0 };
                if ["ps_window", "ps_sequence"].iter().any(|name| pin.file_name() == *name) {
                    let inner = ArrayOfMaps::<_>::try_from(Map::ArrayOfMaps(map))?;
                    for key in 0..inner.len() {
                        match inner.get(&key, 0) {
                            Err(MapError::KeyNotFound) => continue,
                            other => held.bytes += locked(&other?)?,
                        }
                        held.maps += 1;
                    }
                }
                all.insert(pin.file_name().to_string_lossy().into_owned(), held);
            }
        }
        Ok(all)
    })
}

/// Bytes the kernel accounts for a map.
fn locked(map: &MapData) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    bytes.context("the kernel does not tell a map's memory")?.trim().parse().context("a map's memory")
}

/// The mean of the processes' resident bytes.
fn mean(processes: &[u32]) -> Result<f64> {
    let all: Vec<f64> = processes.iter().map(|process| Ok(resident(*process)? as f64)).collect::<Result<_>>()?;
    Ok(all.iter().sum::<f64>() / all.len() as f64)
}
