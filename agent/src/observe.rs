//! Observing: the kernel as one value of the plan's own type.

use std::collections::BTreeMap;

use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_crds::plan::{AddressSpec, NetnsSpec, PlanObjects};
use pathsteer_wireguard::WorkerStatus;

use crate::{
    drivers::{
        Kernel,
        address::{self, Addresses},
        datapath::Shim,
        lent_sysctl, link, neighbour,
        nft::{self, Tallies},
        route, rule, sysctl,
        wireguard::{self, Wireguard},
    },
    fault,
    state::StateDir,
    sys::{KernelError, netns},
};

/// What is in the kernel.
pub struct Observed {
    /// What of ours, and of what is declared.
    pub objects: PlanObjects,
    /// Addresses that the kernel has made of router advertisements.
    pub advertised: Vec<AddressSpec>,
    /// What our nft tables have counted.
    pub tallies: Tallies,
}

/// What is in the kernel. `shim` is absent where the datapath was never opened; `memory` is of the look before.
///
/// # Errors
/// The first dump that fails: half an observation would look like drift.
pub async fn observe(
    kernel: &Kernel,
    shim: Option<&Shim>,
    wireguard: &Wireguard,
    workers: &BTreeMap<u8, WorkerStatus>,
    memory: &mut nft::Memory,
    declared: &PlanObjects,
    state: &StateDir,
) -> Result<Observed, KernelError> {
    fault::looking("datapath")?;
    let mut observed = match shim {
        Some(shim) => shim.observe(declared)?,
        None => PlanObjects::default(),
    };
    observed.netns = kernel.owned().map(|(name, _)| NetnsSpec { name: name.to_owned() }).collect();
    observed.netns.extend(half_made(declared)?);
    fault::looking("sysctls")?;
    observed.sysctls = sysctl::observe(kernel, &declared.sysctls)?;
    fault::looking("lent sysctls")?;
    observed.lent_sysctls = lent_sysctl::observe(kernel, &declared.lent_sysctls, state)?;
    fault::looking("links")?;
    observed.links = link::observe(kernel, declared).await?;
    fault::looking("addresses")?;
    let Addresses { owned, advertised } = address::observe(kernel).await?;
    observed.addresses = owned;
    fault::looking("neighbours")?;
    observed.neighbours = neighbour::observe(kernel).await?;
    fault::looking("routes")?;
    observed.routes = route::observe(kernel).await?;
    fault::looking("rules")?;
    observed.rules = rule::observe(kernel).await?;
    fault::looking("nft tables")?;
    let (nft_tables, tallies) = nft::observe(kernel, &declared.nft_tables, memory)?;
    observed.nft_tables = nft_tables;
    fault::looking("programs")?;
    if let Some(shim) = shim {
        observed.programs = shim.observe_programs(kernel, &declared.programs).await?;
    }
    (observed.wireguard_devices, observed.wireguard_peers) = wireguard::observe(wireguard, workers, declared);
    observed.sort();
    Ok(Observed { objects: observed, advertised, tallies })
}

/// What half-done creations of namespaces have left, where it has to go: a declared one is finished.
fn half_made(declared: &PlanObjects) -> Result<impl Iterator<Item = NetnsSpec>, KernelError> {
    let left = netns::half_made().map_err(|error| KernelError::new("netns list", error))?;
    let left = left.into_iter().filter(|name| is_owned_netns(name)).map(|name| NetnsSpec { name });
    Ok(left.filter(|netns| !declared.netns.contains(netns)))
}
