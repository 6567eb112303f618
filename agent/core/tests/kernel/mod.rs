//! A kernel in memory, with the side effects and the refusals of the real one.

mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pathsteer_agent_core::ownership::is_link_observed;
use pathsteer_agent_core::{Action, Change, PlanObject};
use pathsteer_crds::ownership::TABLES;
use pathsteer_crds::plan::{
    AddressSpec, Behind, LinkKind, NetnsSpec, NftRule, NftTableSpec, PlanObjects, RouteKind, RouteSpec, RuleAction,
    RuleSpec, SysctlSpec, WireguardPeerSpec,
};

pub type Refusal = String;

#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// What is ours, links that are down among it.
    state: PlanObjects,
    down: BTreeSet<(String, String)>,
    /// Network cards in the node's own namespace.
    pub cards: BTreeSet<String>,
    indexes: BTreeMap<(String, String), u32>,
    last_index: u32,
    /// The interface indexes that nft tables were loaded with, by namespace.
    bound: BTreeMap<String, BTreeSet<u32>>,
}

impl Kernel {
    /// A kernel that holds `objects`, with every interface attribute the kernel would have set by itself, and the rest
    /// of `cards` in the node's own namespace.
    pub fn holding(objects: &PlanObjects, cards: &[&str]) -> Kernel {
        let mut kernel = Kernel { state: objects.clone(), ..Kernel::default() };
        kernel.state.dhcp.clear();
        kernel.state.paths.clear();
        kernel.state.steering.clear();
        for link in kernel.state.links.clone() {
            kernel.born(&link.netns, &link.name);
        }
        for link in &mut kernel.state.links {
            links::complete(link);
        }
        let moved = |card: &&&str| !objects.links.iter().any(|l| l.name == ***card && l.kind == LinkKind::Nic);
        kernel.cards = cards.iter().filter(moved).map(|card| (*card).to_owned()).collect();
        for table in objects.nft_tables.clone() {
            kernel.bind(&table).expect("a table of a sound plan binds links of the plan");
        }
        kernel
    }

    /// What the drivers report to an agent that wants `desired`.
    pub fn observe(&self, desired: &PlanObjects) -> PlanObjects {
        let mut seen = self.state.clone();
        seen.links.retain(|link| {
            let up = !self.down.contains(&(link.netns.clone(), link.name.clone()));
            is_link_observed(desired, link, up)
        });
        seen.sort();
        seen
    }

    /// Namespaces whose nft table was loaded with an interface that is no more.
    pub fn stale_tables(&self) -> Vec<String> {
        let alive: BTreeSet<u32> = self.indexes.values().copied().collect();
        self.bound.iter().filter(|(_, bound)| !bound.is_subset(&alive)).map(|(netns, _)| netns.clone()).collect()
    }

    /// Carries out `change`.
    ///
    /// # Errors
    /// Whatever it refers to is not there, or something else is in its place.
    pub fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        match (change.action, &change.object) {
            (Action::Delete, object) => self.delete(object),
            (action, object) => {
                let previous = change.previous.as_ref();
                ensure((action == Action::Update) == previous.is_some(), "an update, and only it, has a previous")?;
                self.make(object, previous)
            }
        }
        .map_err(|refusal| format!("{:?} {}: {refusal}", change.action, change.object.name()))
    }

    /// Somebody else deletes `victim`.
    pub fn steal(&mut self, victim: Option<impl Into<PlanObject>>) {
        if let Some(victim) = victim {
            // A refusal only means that this act of vandalism does not come off.
            let _refused = self.delete(&victim.into()).is_err();
        }
    }

    /// Somebody else sets a sysctl.
    pub fn set(&mut self, sysctl: &SysctlSpec, value: &str) {
        self.state.sysctls.iter_mut().filter(|one| *one == sysctl).for_each(|one| value.clone_into(&mut one.value));
    }

    /// Somebody else adds a rule that looks like ours.
    pub fn plant(&mut self, rule: RuleSpec) {
        if !self.state.rules.contains(&rule) {
            self.state.rules.push(rule);
        }
    }

    fn make(&mut self, object: &PlanObject, previous: Option<&PlanObject>) -> Result<(), Refusal> {
        match object {
            PlanObject::Netns(spec) => {
                self.state.netns.push(spec.clone());
                self.loopback(&spec.name);
                Ok(())
            }
            PlanObject::Sysctl(spec) => {
                self.netns(&spec.netns)?;
                put(&mut self.state.sysctls, spec, |one| (&one.netns, &one.key) == (&spec.netns, &spec.key));
                Ok(())
            }
            PlanObject::LentSysctl(spec) => {
                put(&mut self.state.lent_sysctls, spec, |one| one.key == spec.key);
                Ok(())
            }
            PlanObject::Link(spec) => self.make_link(spec, previous.is_some()),
            PlanObject::Address(spec) => {
                self.link(&spec.netns, &spec.link)?;
                put(&mut self.state.addresses, spec, |one| one == spec);
                Ok(())
            }
            PlanObject::Neighbour(spec) => {
                self.link(&spec.netns, &spec.link)?;
                let same = (&spec.netns, &spec.link, &spec.address);
                put(&mut self.state.neighbours, spec, |one| (&one.netns, &one.link, &one.address) == same);
                Ok(())
            }
            PlanObject::Datapath(spec) => {
                self.netns(&spec.netns)?;
                let fits = self.state.datapath.iter().all(|one| {
                    (&one.netns, one.role, one.window_packets) == (&spec.netns, spec.role, spec.window_packets)
                });
                ensure(fits, "maps of another size or place are there")?;
                self.state.datapath = vec![spec.clone()];
                Ok(())
            }
            PlanObject::Remote(spec) => {
                ensure(!self.state.datapath.is_empty(), "no maps")?;
                put(&mut self.state.remotes, spec, |one| one.id == spec.id);
                Ok(())
            }
            PlanObject::Prefix(spec) => {
                ensure(!self.state.datapath.is_empty(), "no maps")?;
                if let Behind::Remote(id) = spec.behind {
                    ensure(self.state.remotes.iter().any(|remote| remote.id == id), "no such remote")?;
                }
                put(&mut self.state.prefixes, spec, |one| one.prefix == spec.prefix);
                Ok(())
            }
            PlanObject::Program(spec) => {
                self.link(&spec.netns, &spec.link)?;
                ensure(!self.state.datapath.is_empty(), "no maps")?;
                put(&mut self.state.programs, spec, |one| (&one.netns, &one.link) == (&spec.netns, &spec.link));
                Ok(())
            }
            PlanObject::WireguardDevice(spec) => {
                self.netns(&spec.underlay_netns)?;
                self.link(&spec.netns, &spec.link)?;
                let fits = self.state.wireguard_devices.iter().filter(|one| one.link == spec.link).all(|one| {
                    (one.slot, &one.netns, &one.underlay_netns) == (spec.slot, &spec.netns, &spec.underlay_netns)
                });
                ensure(fits, "a device of another slot or place is there")?;
                put(&mut self.state.wireguard_devices, spec, |one| one.link == spec.link);
                Ok(())
            }
            PlanObject::WireguardPeer(spec) => self.make_peer(spec),
            PlanObject::Route(spec) => self.make_route(spec, previous.is_some()),
            PlanObject::Rule(spec) => {
                self.netns(&spec.netns)?;
                if let RuleAction::Table(table) = spec.action {
                    let filled =
                        self.state.routes.iter().any(|route| route.netns == spec.netns && route.table == table);
                    ensure(filled, "its table is empty: packets would fall through to the main one")?;
                }
                ensure(!self.state.rules.contains(spec), "EEXIST")?;
                self.state.rules.push(spec.clone());
                if let Some(PlanObject::Rule(old)) = previous {
                    self.state.rules.retain(|rule| rule != old);
                }
                Ok(())
            }
            PlanObject::NftTable(spec) => {
                self.bind(spec)?;
                put(&mut self.state.nft_tables, spec, |one| one.netns == spec.netns);
                Ok(())
            }
        }
    }

    /// An allowed IP belongs to one peer of an interface: whoever gets it takes it from the others.
    fn make_peer(&mut self, spec: &WireguardPeerSpec) -> Result<(), Refusal> {
        ensure(self.state.wireguard_devices.iter().any(|device| device.link == spec.link), "no device")?;
        for other in self.state.wireguard_peers.iter_mut().filter(|peer| peer.link == spec.link) {
            other.allowed_ips.retain(|net| !spec.allowed_ips.contains(net));
        }
        let same = (&spec.link, &spec.public_key);
        put(&mut self.state.wireguard_peers, spec, |one| (&one.link, &one.public_key) == same);
        Ok(())
    }

    fn make_route(&mut self, spec: &RouteSpec, replace: bool) -> Result<(), Refusal> {
        self.netns(&spec.netns)?;
        if let RouteKind::Unicast { link, gateway, source } = &spec.kind {
            self.link(&spec.netns, link)?;
            let on_link = |gateway| self.is_on_link(&spec.netns, link, gateway);
            ensure(gateway.is_none_or(on_link), "the gateway is not on the link")?;
            let stopped = |route: &RouteSpec| {
                (&route.netns, route.table, &route.kind) == (&spec.netns, spec.table, &RouteKind::Blackhole)
            };
            let stopped = !TABLES.contains(&spec.table) || self.state.routes.iter().any(stopped);
            ensure(stopped, "a path without the blackhole behind it")?;
            ensure(source.is_none_or(|source| self.assigned(&spec.netns, source)), "the source is not assigned")?;
        }
        let key = |route: &RouteSpec| (route.netns.clone(), route.table, route.destination, route.metric);
        ensure(replace || !self.state.routes.iter().any(|route| key(route) == key(spec)), "EEXIST")?;
        put(&mut self.state.routes, spec, |one| key(one) == key(spec));
        Ok(())
    }

    fn is_on_link(&self, netns: &str, link: &str, gateway: IpAddr) -> bool {
        let on_it = |address: &&AddressSpec| (&*address.netns, &*address.link) == (netns, link);
        let to_it = |route: &RouteSpec| match &route.kind {
            RouteKind::Unicast { link: by, gateway: None, .. } => {
                (&*route.netns, &**by) == (netns, link) && route.destination.contains(&gateway)
            }
            _ => false,
        };
        self.state.addresses.iter().filter(on_it).any(|address| address.address.contains(&gateway))
            || self.state.routes.iter().any(to_it)
    }

    fn delete(&mut self, object: &PlanObject) -> Result<(), Refusal> {
        match object {
            PlanObject::Netns(spec) => self.delete_netns(spec),
            PlanObject::Sysctl(_) => return Err("a sysctl cannot be deleted".into()),
            PlanObject::LentSysctl(spec) => self.state.lent_sysctls.retain(|one| one != spec),
            PlanObject::Link(spec) => self.delete_link(spec)?,
            PlanObject::Address(spec) => {
                self.state.addresses.retain(|one| one != spec);
                // The kernel drops routes whose preferred source is gone.
                let routes = std::mem::take(&mut self.state.routes);
                self.state.routes = routes.into_iter().filter(|route| self.has_source(route)).collect();
            }
            PlanObject::Neighbour(spec) => self.state.neighbours.retain(|one| one != spec),
            PlanObject::Datapath(_) => {
                self.state.datapath.clear();
                self.state.programs.clear();
                self.state.remotes.clear();
                self.state.prefixes.clear();
            }
            PlanObject::Remote(spec) => {
                let used = self.state.prefixes.iter().any(|prefix| prefix.behind == Behind::Remote(spec.id));
                ensure(!used, "a prefix lies behind it")?;
                self.state.remotes.retain(|one| one != spec);
            }
            PlanObject::Prefix(spec) => self.state.prefixes.retain(|one| one != spec),
            PlanObject::Program(spec) => self.state.programs.retain(|one| one != spec),
            PlanObject::WireguardDevice(spec) => {
                self.state.wireguard_devices.retain(|one| one != spec);
                self.state.wireguard_peers.retain(|one| one.link != spec.link);
            }
            PlanObject::WireguardPeer(spec) => {
                self.state.wireguard_peers.retain(|one| (&one.link, &one.public_key) != (&spec.link, &spec.public_key));
            }
            PlanObject::Route(spec) => self.state.routes.retain(|one| one != spec),
            PlanObject::Rule(spec) => self.state.rules.retain(|one| one != spec),
            PlanObject::NftTable(spec) => {
                self.state.nft_tables.retain(|one| one.netns != spec.netns);
                self.bound.remove(&spec.netns);
            }
        }
        Ok(())
    }

    fn has_source(&self, route: &RouteSpec) -> bool {
        match route.kind {
            RouteKind::Unicast { source: Some(source), .. } => self.assigned(&route.netns, source),
            _ => true,
        }
    }

    fn assigned(&self, netns: &str, address: IpAddr) -> bool {
        self.state.addresses.iter().any(|one| one.netns == netns && one.address.addr() == address)
    }

    fn bind(&mut self, table: &NftTableSpec) -> Result<(), Refusal> {
        self.netns(&table.netns)?;
        let mut bound = BTreeSet::new();
        for rule in &table.rules {
            if let NftRule::Copy { link, .. } = rule {
                let index = self.indexes.get(&(table.netns.clone(), link.clone()));
                bound.insert(*index.ok_or_else(|| format!("no interface {link}"))?);
            }
        }
        self.bound.insert(table.netns.clone(), bound);
        Ok(())
    }

    fn netns(&self, name: &str) -> Result<(), Refusal> {
        ensure(self.state.netns.iter().any(|netns| *netns == NetnsSpec { name: name.into() }), "no such namespace")
    }
}

fn ensure(holds: bool, refusal: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal.to_owned()) }
}

/// Puts `spec` in the place of whatever is the same.
fn put<T: Clone>(list: &mut Vec<T>, spec: &T, same: impl Fn(&T) -> bool) {
    list.retain(|one| !same(one));
    list.push(spec.clone());
}
