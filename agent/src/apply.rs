//! Applying: one change after another, each with its outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use pathsteer_agent_core::{Action, Change, Outcome, PlanObject};
use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects, RemoteSpec};

use crate::{
    drivers::{
        Kernel, address, datapath::Shim, lent_sysctl, link, neighbour, nft, route, rule, sysctl, wireguard::Wireguard,
    },
    fault,
    state::StateDir,
    sys::KernelError,
};

/// What changes are applied with.
pub struct Applier<'a> {
    pub kernel: &'a mut Kernel,
    /// The datapath, or why it cannot be had.
    pub shim: Result<&'a Shim, &'a str>,
    pub wireguard: &'a Wireguard,
    pub state: &'a StateDir,
    pub desired: &'a PlanObjects,
    /// Bytes copied this month by slot.
    pub copied: &'a BTreeMap<u8, u64>,
}

impl<'a> Applier<'a> {
    /// Applies every change; one that fails stops none of the others.
    pub async fn apply(&mut self, changes: Vec<Change>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        // A worker takes its devices and peers in one piece: the first deletion of a slot ends those that must go, the
        // first creation or update makes all the others.
        let mut workers: BTreeMap<(u8, bool), Option<String>> = BTreeMap::new();
        let mut remotes = put_remotes(&changes);
        // A card that is not a real one ends with its namespace: while it could not be given back, that has to stay.
        let mut holding: BTreeSet<String> = BTreeSet::new();
        // The other ends of veths, and the outcomes they are part of. Each that comes up gives its link a carrier, and the
        // kernel's work on that holds up the making of the next link: for a hundred, a third of the time (`make bench`).
        let mut others: Vec<(usize, &LinkSpec)> = Vec::new();
        for change in changes {
            if !matches!(change.object, PlanObject::Link(_)) {
                self.put_others(&mut others, &mut outcomes).await;
            }
            if let (PlanObject::Remote(_), Ok(shim)) = (&change.object, self.shim)
                && !remotes.is_empty()
                && let Err(error) = shim.prepare_remotes(&std::mem::take(&mut remotes))
            {
                // what is missing is made, or fails, with its remote
                tracing::debug!(%error, "windows made in advance");
            }
            let failure = match self.slot_of(&change) {
                Some(slot) => {
                    let once = (slot, change.action == Action::Delete);
                    let put = || self.put_worker(slot, change.action).err().map(|error| error.to_string());
                    workers.entry(once).or_insert_with(put).clone()
                }
                None if matches!(&change.object, PlanObject::Netns(netns) if holding.contains(&netns.name)) => {
                    Some("it holds a card that could not be given back".to_owned())
                }
                None => self.one(&change).await.err().map(|error| error.to_string()),
            };
            if let (Action::Delete, PlanObject::Link(LinkSpec { netns, kind: LinkKind::Nic, .. }), Some(_)) =
                (change.action, &change.object, &failure)
            {
                holding.insert(netns.clone());
            }
            match &failure {
                None => {
                    tracing::debug!(action = ?change.action, object = change.object.name(), "applied");
                    others.extend(self.other_end(&change).map(|other| (outcomes.len(), other)));
                    fault::changed();
                }
                Some(why) => tracing::warn!(action = ?change.action, object = change.object.name(), why, "failed"),
            }
            outcomes.push(Outcome { change, failure });
        }
        self.put_others(&mut others, &mut outcomes).await;
        outcomes
    }

    /// The other end of the veth that `change` has put: made with it, and yet to be set up.
    fn other_end(&self, change: &Change) -> Option<&'a LinkSpec> {
        let PlanObject::Link(LinkSpec { kind: LinkKind::Veth { peer_netns, peer }, .. }) = &change.object else {
            return None;
        };
        // the lists of a plan are sorted
        let links = &self.desired.links;
        let at = links.binary_search_by_key(&(peer_netns, peer), |link| (&link.netns, &link.name)).ok()?;
        (change.action != Action::Delete).then_some(&links[at])
    }

    async fn put_others(&self, others: &mut Vec<(usize, &LinkSpec)>, outcomes: &mut [Outcome]) {
        for (outcome, other) in others.drain(..) {
            let Err(error) = link::put(self.kernel, other, self.desired, self.state).await else { continue };
            let object = outcomes[outcome].change.object.name();
            tracing::warn!(object, end = other.name, %error, "failed");
            outcomes[outcome].failure = Some(error.to_string());
        }
    }

    fn put_worker(&self, slot: u8, why: Action) -> Result<(), KernelError> {
        fault::stepping(&format!("{why:?} worker of slot {slot}"))?;
        self.wireguard.put(slot, self.desired)
    }

    /// The slot whose worker a change is about.
    fn slot_of(&self, change: &Change) -> Option<u8> {
        match &change.object {
            PlanObject::WireguardDevice(device) => Some(device.slot),
            // tunnels are named after their slot
            PlanObject::WireguardPeer(peer) => peer.link.strip_prefix("psw")?.get(..1)?.parse().ok(),
            _ => None,
        }
    }

    async fn one(&mut self, change: &Change) -> Result<(), KernelError> {
        let put = change.action != Action::Delete;
        fault::stepping(&format!("{:?} {}", change.action, change.object.name()))?;
        match &change.object {
            PlanObject::Netns(netns) if put => self.kernel.create_netns(&netns.name),
            PlanObject::Netns(netns) => self.kernel.delete_netns(&netns.name),
            PlanObject::Sysctl(sysctl) if put => sysctl::put(self.kernel, sysctl),
            // a namespace's sysctls go with it
            PlanObject::Sysctl(_) => Ok(()),
            PlanObject::LentSysctl(lent) if put => lent_sysctl::put(self.kernel, lent, self.state),
            PlanObject::LentSysctl(lent) => lent_sysctl::give_back(self.kernel, lent, self.state),
            PlanObject::Link(link) if put => link::put(self.kernel, link, self.desired, self.state).await,
            PlanObject::Link(link) => link::remove(self.kernel, link, self.state).await,
            PlanObject::Address(address) if put => address::put(self.kernel, address).await,
            PlanObject::Address(address) => address::remove(self.kernel, address).await,
            PlanObject::Neighbour(neighbour) if put => neighbour::put(self.kernel, neighbour).await,
            PlanObject::Neighbour(neighbour) => neighbour::remove(self.kernel, neighbour).await,
            PlanObject::Route(route) if put => route::put(self.kernel, route).await,
            PlanObject::Route(route) => route::remove(self.kernel, route).await,
            PlanObject::Rule(rule) if put => {
                let previous = match &change.previous {
                    Some(PlanObject::Rule(previous)) => Some(previous),
                    _ => None,
                };
                rule::put(self.kernel, rule, previous).await
            }
            PlanObject::Rule(rule) => rule::remove(self.kernel, rule).await,
            PlanObject::NftTable(table) if put => nft::put(self.kernel, table, self.copied),
            PlanObject::NftTable(table) => nft::remove(self.kernel, table),
            PlanObject::WireguardDevice(_) | PlanObject::WireguardPeer(_) => Ok(()),
            of_shim => match self.shim {
                Ok(shim) => self.of_shim(shim, of_shim, put),
                Err(why) => Err(KernelError::new("datapath", io::Error::other(why.to_owned()))),
            },
        }
    }

    fn of_shim(&self, shim: &Shim, object: &PlanObject, put: bool) -> Result<(), KernelError> {
        match object {
            PlanObject::Datapath(datapath) if put => shim.put_datapath(datapath, self.state),
            PlanObject::Datapath(_) => shim.remove_datapath(),
            PlanObject::Remote(remote) if put => shim.put_remote(remote),
            PlanObject::Remote(remote) => shim.remove_remote(remote),
            PlanObject::Prefix(prefix) if put => shim.put_prefix(prefix),
            PlanObject::Prefix(prefix) => shim.remove_prefix(prefix),
            PlanObject::Program(program) if put => shim.put_program(self.kernel, program),
            PlanObject::Program(program) => shim.remove_program(self.kernel, program),
            _ => Ok(()),
        }
    }
}

/// The remotes that `changes` create or update.
fn put_remotes(changes: &[Change]) -> Vec<RemoteSpec> {
    let put = changes.iter().filter(|change| change.action != Action::Delete);
    put.filter_map(|change| if let PlanObject::Remote(remote) = &change.object { Some(remote.clone()) } else { None })
        .collect()
}
