//! An anchor with five hundred sites: its plan, its maps at their declared width, its workers' peers, and what it takes
//! to change one site of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_compiler::Inventory;
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use crate::inventory::{self, ANCHOR, SLOTS};
use crate::node::{LOOK, Node};
use crate::plans::{Plan, plan};
use crate::stage::with_maps;

const SITES: usize = 500;
/// Width of a window by default, and buckets of each: 64 bits for 32 packets.
const WINDOW_BYTES: u64 = 16_384 / 32 * 8 * 256;
/// The first plan has to be in force so soon.
const FIRST: Duration = Duration::from_secs(30);
/// When a turn is given up.
const DEADLINE: Duration = Duration::from_secs(90);
/// The site that changes, and goes.
const ONE: usize = 250;
/// A network that it is given.
const ADDED: &str = "10.9.0.0/24";

pub fn case(remarks: &mut Vec<String>) -> Result<()> {
    let mut inventory = many()?;
    let one = inventory::site(ONE);
    let begin = clock::now();
    let all = plan(&mut inventory, ANCHOR)?;
    remarks.push(format!("compiled {SITES} sites and their anchor in {:.2?}", clock::now() - begin));

    let begin = clock::now();
    let mut node = Node::start("hundreds", &all)?;
    in_sync(&mut node, 0)?;
    let took = clock::now() - begin;
    remarks.push(format!("from nothing to in sync in {took:.2?}; turns: {}", turns(&node).join(", ")));
    ensure!(took < FIRST, "{SITES} sites took {took:?}");
    let declared = all.objects();
    everything_is_there(&node, &declared)?;
    measure(&node, &declared, remarks)?;

    let before = turns(&node).len();
    // Somebody else's route in the anchor's namespace: the agent looks, and finds nothing to do.
    node.ip("-n psan route add blackhole 203.0.113.96/32 proto static")?;
    let quiet = next_turn(&mut node, before)?;
    ensure!(quiet.ends_with("changes=0"), "a turn without a reason changed something: {quiet}");
    remarks.push(format!("a turn that finds nothing to do: {quiet}"));

    let site = inventory.sites.get_mut(&one).context("the site that changes")?;
    site.prefixes.push(ADDED.parse()?);
    let changed = plan(&mut inventory, ANCHOR)?;
    let turn = exchange(&mut node, &changed, 2)?;
    remarks.push(format!("one site's prefix added, with a restart of the agent: {turn}"));
    everything_is_there(&node, &changed.objects())?;

    inventory.sites.remove(&one);
    inventory.uplinks.retain(|key, _| !key.starts_with(&format!("{one}/")));
    inventory.vlans.retain(|key, _| !key.starts_with(&format!("{one}/")));
    let without = plan(&mut inventory, ANCHOR)?;
    let turn = exchange(&mut node, &without, 3)?;
    remarks.push(format!("one site removed, with a restart of the agent: {turn}"));
    everything_is_there(&node, &without.objects())?;
    is_gone(&node, &changed.objects(), &without.objects())
}

/// Five hundred sites with an address of their own each beside their networks, all of them at one anchor.
fn many() -> Result<Inventory> {
    let mut inventory = inventory::declare(SITES, 0, BTreeMap::new())?;
    for (number, site) in (0_u32..).zip(inventory.sites.values_mut()) {
        let first = Ipv4Addr::new(198, 18, 0, 1).to_bits();
        site.vips.push(Ipv4Addr::from_bits(first + number).into());
    }
    Ok(inventory)
}

/// Waits until the agent has said that it is in sync once more than `before` times.
fn in_sync(node: &mut Node, before: usize) -> Result<()> {
    if clock::wait_until(clock::now() + DEADLINE, LOOK, || node.said("in sync") > before) {
        return Ok(());
    }
    node.check()?;
    let log = node.log();
    bail!("not in sync after {DEADLINE:?}; the log ends:\n{}", log[log.len().saturating_sub(20)..].join("\n"))
}

/// Makes `plan` the last good one of an agent that is started again; how long its turns took.
fn exchange(node: &mut Node, plan: &Plan, generation: i64) -> Result<String> {
    node.kill()?;
    node.keep(plan, generation)?;
    let (said, before) = (node.said("in sync"), turns(node).len());
    node.restart()?;
    in_sync(node, said)?;
    next_turn(node, before)
}

/// What the agent says about the turn after the first `before`.
fn next_turn(node: &mut Node, before: usize) -> Result<String> {
    let found = clock::wait_until(clock::now() + DEADLINE, LOOK, || turns(node).len() > before);
    ensure!(found, "there was no other turn");
    turns(node).into_iter().nth(before).context("a turn")
}

/// `took=… changes=…` of every turn so far.
fn turns(node: &Node) -> Vec<String> {
    let field = |line: &str, name: &str| {
        let words = line.split_whitespace();
        words.filter_map(|word| word.strip_prefix(name)).next().map(str::to_owned)
    };
    let said = |line: &String| {
        line.contains(" turn generation=").then_some(())?;
        Some(format!("took={} us changes={}", field(line, "took_us=")?, field(line, "changes=")?))
    };
    node.log().iter().filter_map(said).collect()
}

/// The maps, the peers and the routes are those of `declared`, as the kernel and the workers tell it.
fn everything_is_there(node: &Node, declared: &PlanObjects) -> Result<()> {
    let observed = node.observe()?;
    for (what, declared, observed) in [
        ("remotes", declared.remotes.len(), observed.remotes.len()),
        ("prefixes", declared.prefixes.len(), observed.prefixes.len()),
        ("peers", declared.wireguard_peers.len(), observed.wireguard_peers.len()),
        ("routes", declared.routes.len(), observed.routes.len()),
    ] {
        ensure!(declared == observed, "{observed} {what} instead of {declared}");
    }
    let ids: Vec<u32> = declared.remotes.iter().map(|remote| remote.id).collect();
    let made = memory(&node.host, &ids)?;
    for remote in &declared.remotes {
        let bytes = made[&remote.id];
        let least = WINDOW_BYTES * remote.classes.len() as u64;
        ensure!(bytes >= least, "{} has {bytes} bytes of maps instead of {least} at least", remote.node);
    }
    Ok(())
}

/// Bytes of kernel memory of each remote's maps.
fn memory(host: &Host, ids: &[u32]) -> Result<BTreeMap<u32, u64>> {
    with_maps(host, |maps| ids.iter().map(|id| Ok((*id, maps.memory(*id)?))).collect())
}

fn measure(node: &Node, declared: &PlanObjects, remarks: &mut Vec<String>) -> Result<()> {
    let ids: Vec<u32> = declared.remotes.iter().map(|remote| remote.id).collect();
    let all = memory(&node.host, &ids)?;
    let total: u64 = all.values().sum();
    let per_site = total / SITES as u64;
    remarks.push(format!("maps: {per_site} bytes a site (one class), {:.1} MiB in all", mib(total)));
    let workers = node.workers();
    for pid in node.host.processes(&["pathsteer-agent"]) {
        let who = if workers.contains(&pid) { format!("worker of {SITES} peers") } else { "agent".to_owned() };
        remarks.push(format!("{who}: {:.1} MiB resident", mib(resident(pid)?)));
    }
    let (peers, routes) = (declared.wireguard_peers.len(), declared.routes.len());
    remarks.push(format!("{peers} peers, {routes} routes, {} prefixes", declared.prefixes.len()));
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Bytes of the process `pid` that are in memory.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(kilobytes.context(status.clone())?.parse::<u64>()? * 1_024)
}

/// Nothing of the site that `with` has and `without` has not is left.
fn is_gone(node: &Node, with: &PlanObjects, without: &PlanObjects) -> Result<()> {
    let gone = with.remotes.iter().find(|one| !without.remotes.iter().any(|other| other.id == one.id));
    let gone = gone.context("no site has gone")?;
    ensure!(with.remotes.len() == without.remotes.len() + 1, "more than one site has gone");
    ensure!(with.wireguard_peers.len() == without.wireguard_peers.len() + SLOTS.len(), "its peers are still planned");
    // Its sequences stay, should it come back before its node has heard that it was gone: two pages each.
    let (left, sequences) = (memory(&node.host, &[gone.id])?[&gone.id], gone.classes.len() as u64 * 8_192);
    ensure!(left <= sequences, "its windows are still there: {left} bytes");
    let known = with_maps(&node.host, |maps| Ok(maps.remotes()?.contains_key(&gone.id)))?;
    ensure!(!known, "it is still in the maps");
    let routes =
        node.ip("-n psan route show table all proto 77")? + &node.ip("-n psan -6 route show table all proto 77")?;
    for trace in [gone.address.to_string(), ADDED.into(), format!("2001:db8:{:x}::", 0x1000 + ONE)] {
        ensure!(!routes.contains(&trace), "a route for {trace} is left");
    }
    Ok(())
}
