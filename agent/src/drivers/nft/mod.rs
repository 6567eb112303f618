//! nft tables: one `nft` run per namespace, its own words kept when it refuses.

mod address_set;
mod class_map;
mod classify;
mod copy;
mod forward;
mod guard;
mod listing;
mod ruleset;
mod shim;
mod translate;
mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::{Command, Stdio},
};

use pathsteer_crds::{
    ownership,
    plan::{NftRule, NftTableSpec},
    report::CounterReport,
};
use serde_json::{Value, json};

use self::{listing::Listing, ruleset::Ruleset};
use super::Kernel;
use crate::sys::{
    KernelError,
    netns::{self, Netns, NetnsId},
    nfnetlink::{self, Counted},
};

/// What our tables have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Packets by counter and namespace.
    pub counters: Vec<CounterReport>,
    /// Bytes copied by slot, where a month's copies are limited.
    pub copied: BTreeMap<u8, u64>,
}

/// What was found, by namespace, and in which state of it: listing tables costs more than everything else a look does.
#[derive(Default)]
pub struct Memory(BTreeMap<String, Known>);

struct Known {
    state: State,
    declared: Option<NftTableSpec>,
    observed: Option<NftTableSpec>,
}

/// On what depends what would be listed.
#[derive(PartialEq, Eq)]
struct State {
    netns: NetnsId,
    generation: u32,
    /// Indexes of the links that copies go out of: tables are bound to these, not to names.
    bound: Vec<Option<u32>>,
}

/// Our tables in our namespaces, and what they have counted. A namespace whose tables are not exactly as declared comes
/// back without rules.
///
/// # Errors
/// What nft and the kernel say.
pub fn observe(
    kernel: &Kernel,
    declared: &[NftTableSpec],
    memory: &mut Memory,
) -> Result<(Vec<NftTableSpec>, Tallies), KernelError> {
    let (mut observed, mut tallies, mut known) = (Vec::new(), Tallies::default(), BTreeMap::new());
    for (name, netlink) in kernel.places() {
        let fail = |error| KernelError::new(format!("nft list in {name}"), error);
        let declared = declared.iter().find(|spec| spec.netns == name);
        let (state, counted) = look(&netlink.netns, declared).map_err(fail)?;
        tallies.add(name, counted);
        let same = |old: &Known| (&old.state, old.declared.as_ref()) == (&state, declared);
        let now = match memory.0.remove(name).filter(same) {
            Some(old) => old,
            None => {
                let observed = found(&netlink.netns, name, declared).map_err(fail)?;
                Known { state, declared: declared.cloned(), observed }
            }
        };
        observed.extend(now.observed.clone());
        known.insert(name.to_owned(), now);
    }
    memory.0 = known;
    Ok((observed, tallies))
}

fn look(netns: &Netns, declared: Option<&NftTableSpec>) -> io::Result<(State, Vec<(String, Counted)>)> {
    let rules = declared.map(|spec| &*spec.rules).unwrap_or_default();
    let id = netns.id()?;
    netns.inside(|| {
        let bound = rules.iter().filter_map(copied_to).map(|link| netns::ifindex(link).ok()).collect();
        let state = State { netns: id, generation: nfnetlink::generation()?, bound };
        Ok((state, nfnetlink::counted(ownership::NFT_TABLE)?))
    })
}

fn copied_to(rule: &NftRule) -> Option<&str> {
    if let NftRule::Copy { link, .. } = rule { Some(link) } else { None }
}

/// What our tables have counted.
///
/// # Errors
/// What the kernel says.
pub fn tallies(kernel: &Kernel) -> Result<Tallies, KernelError> {
    let mut tallies = Tallies::default();
    for (name, netlink) in kernel.places() {
        let counted = netlink.netns.inside(|| nfnetlink::counted(ownership::NFT_TABLE));
        tallies.add(name, counted.map_err(|error| KernelError::new(format!("nft counters in {name}"), error))?);
    }
    Ok(tallies)
}

fn found(netns: &Netns, name: &str, declared: Option<&NftTableSpec>) -> io::Result<Option<NftTableSpec>> {
    // `nft` takes longer than all else that happens until a table that somebody has deleted is back
    let differs = NftTableSpec::new(name, Vec::new());
    match families(netns)?.len() {
        0 => return Ok(None),
        some if name != ownership::HOST && some < ruleset::FAMILIES.len() => return Ok(Some(differs)),
        _ => {}
    }
    let found = list(netns, name)?;
    if found.is_empty() {
        return Ok(None);
    }
    let same = declared.filter(|spec| found.is_same(&Listing::of(&objects(spec, &BTreeMap::new()))));
    Ok(Some(same.cloned().unwrap_or(differs)))
}

impl Tallies {
    fn add(&mut self, netns: &str, counted: Vec<(String, Counted)>) {
        for (name, counted) in counted {
            match counted {
                Counted::Packets(packets) => {
                    self.counters.push(CounterReport { name, place: netns.to_owned(), remote: 0, packets });
                }
                Counted::QuotaBytes(bytes) => self.copied.extend(ruleset::quota_slot(&name).map(|slot| (slot, bytes))),
            }
        }
    }
}

/// Changes our tables without a moment in which a packet finds less than the old ones or the new ones. Counters and quotas go on counting; a
/// quota that is made begins with what of it was `copied` already.
///
/// # Errors
/// What nft says.
pub fn put(kernel: &Kernel, spec: &NftTableSpec, copied: &BTreeMap<u8, u64>) -> Result<(), KernelError> {
    replace(kernel, &spec.netns, &objects(spec, copied))
}

/// # Errors
/// What nft says.
pub fn remove(kernel: &Kernel, spec: &NftTableSpec) -> Result<(), KernelError> {
    let tables =
        ruleset::FAMILIES.map(|(family, _)| json!({"table": {"family": family, "name": ownership::NFT_TABLE}}));
    let tables = tables.into_iter().filter(|table| is_ours(&spec.netns, table));
    let tables: Vec<Value> = tables.collect();
    // added first, the deletion of one that is not there succeeds
    let commands =
        tables.iter().map(|table| json!({"add": table})).chain(tables.iter().map(|table| json!({"delete": table})));
    load(kernel, &spec.netns, commands.collect())
}

/// Begins the quotas of these slots anew.
///
/// # Errors
/// What nft says.
pub fn reset_quotas(kernel: &Kernel, netns: &str, slots: &[u8]) -> Result<(), KernelError> {
    let commands = slots.iter().map(|slot| ruleset::reset_of(*slot));
    load(kernel, netns, commands.collect())
}

fn render(spec: &NftTableSpec) -> Ruleset {
    let mut tables = Ruleset::default();
    if spec.netns != ownership::HOST {
        // What classifies lets through what no guard is for, so it comes first. In the node's own namespace nothing is
        // classified: whatever else passes there is not ours.
        classify::render(&spec.rules, &mut tables);
    }
    for noun in [guard::render, forward::render, translate::render, copy::render] {
        noun(&spec.rules, &mut tables);
    }
    tables
}

/// Everything that is loaded, in order.
fn objects(spec: &NftTableSpec, copied: &BTreeMap<u8, u64>) -> Vec<Value> {
    let objects = render(spec).objects(copied).into_iter();
    objects.filter(|object| is_ours(&spec.netns, object)).collect()
}

/// What copies is in a table of family `ip`. In the node's own namespace nothing is copied, and one with our name there is
/// somebody else's.
fn is_ours(netns: &str, object: &Value) -> bool {
    netns != ownership::HOST || is_of("inet", object)
}

fn is_of(family: &str, object: &Value) -> bool {
    object.as_object().is_some_and(|object| object.values().all(|body| body["family"] == family))
}

fn replace(kernel: &Kernel, netns: &str, objects: &[Value]) -> Result<(), KernelError> {
    let fail = |error| KernelError::new(format!("nft list in {netns}"), error);
    let place = &kernel.netlink(netns)?.netns;
    let load = |commands| load(kernel, netns, commands);
    let there = families(place).map_err(fail)?;
    let is_missing =
        |(family, number): &(&str, i32)| !there.contains(number) && objects.iter().any(|one| is_of(family, one));
    let missing: Vec<_> = ruleset::FAMILIES.into_iter().filter(is_missing).collect();
    if !missing.is_empty() {
        // What is not there at all needs no comparing, and packets wait for it.
        let new = objects.iter().filter(|object| missing.iter().any(|(family, _)| is_of(family, object)));
        Listing::default().turned_into(&new.cloned().collect::<Vec<_>>()).into_iter().try_for_each(load)?;
    }
    if there.is_empty() {
        return Ok(());
    }
    list(place, netns).map_err(fail)?.turned_into(objects).into_iter().try_for_each(load)
}

fn load(kernel: &Kernel, netns: &str, commands: Vec<Value>) -> Result<(), KernelError> {
    let input = json!({"nftables": commands}).to_string();
    let loaded = run(&kernel.netlink(netns)?.netns, &["-j", "-f", "-"], Some(input));
    loaded.map(drop).map_err(|error| KernelError::new(format!("nft in {netns}"), error))
}

/// The families of our tables.
fn families(netns: &Netns) -> io::Result<Vec<i32>> {
    netns.inside(|| nfnetlink::families(ownership::NFT_TABLE))
}

fn list(netns: &Netns, name: &str) -> io::Result<Listing> {
    if families(netns)?.is_empty() {
        return Ok(Listing::default());
    }
    let text = run(netns, &["-n", "-j", "list", "ruleset"], None)?;
    let listed: Value = serde_json::from_str(&text)?;
    let listed = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Listing::of(&listed.iter().filter(|object| is_ours(name, object)).cloned().collect::<Vec<Value>>()))
}

fn run(netns: &Netns, arguments: &'static [&'static str], input: Option<String>) -> io::Result<String> {
    netns.run(move || {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::other("the program `nft` is missing: install the package nftables")
                }
                _ => error,
            })?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    })
}
