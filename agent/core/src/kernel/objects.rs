//! Making and deleting each noun in the kernel in memory, with what the kernel wants to be there before and takes along.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pathsteer_crds::ownership::{HOST, TABLES, VIP_NETNS, path_table};
use pathsteer_crds::plan::{
    AddressSpec, Behind, NftRule, NftTableSpec, RouteKind, RouteSpec, RuleAction, WireguardPeerSpec,
};
use pathsteer_crds::plumbing::PINNED;

use super::{Kernel, Refusal};
use crate::PlanObject;

impl Kernel {
    pub(super) fn make(&mut self, object: &PlanObject, previous: Option<&PlanObject>) -> Result<(), Refusal> {
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
                    let filled = filled || is_pinned(&spec.netns, table);
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
            let may_end = !TABLES.contains(&spec.table) || is_pinned(&spec.netns, spec.table);
            let stopped = may_end || self.state.routes.iter().any(stopped);
            ensure(stopped, "a path without the blackhole behind it")?;
            ensure(source.is_none_or(|source| self.assigned(&spec.netns, source)), "the source is not assigned")?;
        }
        let same = |route: &RouteSpec| {
            let key = (&route.netns, route.table, route.destination, route.metric);
            key == (&spec.netns, spec.table, spec.destination, spec.metric)
        };
        ensure(replace || !self.state.routes.iter().any(same), "EEXIST")?;
        put(&mut self.state.routes, spec, same);
        Ok(())
    }

    fn is_on_link(&self, netns: &str, link: &str, gateway: IpAddr) -> bool {
        // every link has a link-local address of its own
        if matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return true;
        }
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

    pub(super) fn delete(&mut self, object: &PlanObject) -> Result<(), Refusal> {
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

    pub(super) fn bind(&mut self, table: &NftTableSpec) -> Result<(), Refusal> {
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

    pub(super) fn netns(&self, name: &str) -> Result<(), Refusal> {
        let there = name == HOST || self.state.netns.iter().any(|netns| netns.name == name);
        ensure(there, "no such namespace")
    }
}

pub(super) fn ensure(holds: bool, refusal: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal.to_owned()) }
}

/// A flow that is pinned to an uplink which is gone is led by the next rule: these tables may be empty, and end.
fn is_pinned(netns: &str, table: u32) -> bool {
    netns == VIP_NETNS && (1..=8).any(|slot| table == path_table(slot, PINNED))
}

/// Puts `spec` in the place of whatever is the same.
fn put<T: Clone>(list: &mut Vec<T>, spec: &T, same: impl Fn(&T) -> bool) {
    list.retain(|one| !same(one));
    list.push(spec.clone());
}
