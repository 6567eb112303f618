//! Interfaces of the kernel in memory, and what stands and falls with them.

use pathsteer_crds::plan::{LinkKind, LinkSpec, NetnsSpec, RouteKind};

use super::objects::ensure;
use super::{Kernel, Refusal};

/// Sets what the kernel sets where nothing is declared.
pub(super) fn complete(link: &mut LinkSpec) {
    link.mtu = link.mtu.or(Some(1_500));
    link.gso_max_segs = link.gso_max_segs.or(Some(65_535));
    link.mac = link.mac.take().or(Some("02:00:00:00:00:99".into()));
}

fn assign(link: &mut LinkSpec, declared: &LinkSpec) {
    link.mtu = declared.mtu.or(link.mtu);
    link.gso_max_segs = declared.gso_max_segs.or(link.gso_max_segs);
    link.mac = declared.mac.clone().or(link.mac.take());
}

impl Kernel {
    /// Sets a link down, with what the kernel does then: IPv4 routes by it vanish.
    pub fn set_down(&mut self, link: &LinkSpec) {
        self.down.insert((link.netns.clone(), link.name.clone()));
        self.state.routes.retain(|route| {
            route.netns != link.netns || !matches!(&route.kind, RouteKind::Unicast { link: by, .. } if *by == link.name)
        });
    }

    pub(super) fn born(&mut self, netns: &str, name: &str) {
        self.last_index += 1;
        self.indexes.insert((netns.to_owned(), name.to_owned()), self.last_index);
    }

    /// A new namespace has a loopback that is down.
    pub(super) fn loopback(&mut self, netns: &str) {
        if self.find(netns, "lo").is_none() {
            self.insert(LinkSpec { mtu: Some(65_536), ..LinkSpec::new(netns, "lo", LinkKind::Loopback) });
            self.down.insert((netns.into(), "lo".into()));
        }
    }

    pub(super) fn link(&self, netns: &str, name: &str) -> Result<(), Refusal> {
        ensure(self.find(netns, name).is_some(), "no such link")?;
        ensure(!self.down.contains(&(netns.to_owned(), name.to_owned())), "the link is down")
    }

    pub(super) fn make_link(&mut self, declared: &LinkSpec, update: bool) -> Result<(), Refusal> {
        self.netns(&declared.netns)?;
        if let Some(at) = self.find(&declared.netns, &declared.name) {
            let link = &mut self.state.links[at];
            ensure(link.kind == declared.kind, "EEXIST: something else has this name")?;
            assign(link, declared);
            self.down.remove(&(declared.netns.clone(), declared.name.clone()));
            if let LinkKind::Veth { peer_netns, peer } = &declared.kind {
                self.down.remove(&(peer_netns.clone(), peer.clone()));
            }
            return Ok(());
        }
        ensure(!update, "ENODEV")?;
        match &declared.kind {
            LinkKind::Loopback => return Err("no loopback".into()),
            LinkKind::Tunnel => self.insert(declared.clone()),
            LinkKind::Vlan { parent, .. } => {
                self.link(&declared.netns, parent)?;
                self.insert(declared.clone());
            }
            LinkKind::Nic => {
                ensure(self.cards.remove(&declared.name), "no such card in the node's own namespace")?;
                self.insert(declared.clone());
            }
            LinkKind::Veth { peer_netns, peer } => {
                self.netns(peer_netns)?;
                ensure(self.find(peer_netns, peer).is_none(), "EEXIST: something else has the name of the peer")?;
                self.insert(declared.clone());
                let kind = LinkKind::Veth { peer_netns: declared.netns.clone(), peer: declared.name.clone() };
                self.insert(LinkSpec::new(peer_netns, peer, kind));
            }
        }
        Ok(())
    }

    pub(super) fn delete_link(&mut self, link: &LinkSpec) -> Result<(), Refusal> {
        // A worker would go on with a TUN that is no more.
        let devices = &self.state.wireguard_devices;
        let attached = devices.iter().any(|device| (&device.netns, &device.link) == (&link.netns, &link.name));
        ensure(!attached, "a worker is attached to it")?;
        match &link.kind {
            LinkKind::Loopback => return Err("the loopback cannot be deleted".into()),
            LinkKind::Nic if self.find(&link.netns, &link.name).is_some() => {
                self.without_tagged(link)?;
                self.cards.insert(link.name.clone());
            }
            LinkKind::Veth { peer_netns, peer } => self.gone(peer_netns, peer),
            LinkKind::Tunnel | LinkKind::Nic | LinkKind::Vlan { .. } => {}
        }
        self.gone(&link.netns, &link.name);
        Ok(())
    }

    /// The kernel would let the card go, and its tagged segments would stay.
    fn without_tagged(&self, card: &LinkSpec) -> Result<(), Refusal> {
        let on_it = |link: &LinkSpec| matches!(&link.kind, LinkKind::Vlan { parent, .. } if *parent == card.name);
        let left = self.state.links.iter().any(|link| link.netns == card.netns && on_it(link));
        ensure(!left, "tagged segments would be left behind")
    }

    /// Takes everything in it along; cards fall back to the node's own namespace.
    pub(super) fn delete_netns(&mut self, netns: &NetnsSpec) {
        for link in self.state.links.clone().iter().filter(|link| link.netns == netns.name) {
            match &link.kind {
                LinkKind::Nic => {
                    self.cards.insert(link.name.clone());
                }
                LinkKind::Veth { peer_netns, peer } => self.gone(peer_netns, peer),
                LinkKind::Loopback | LinkKind::Tunnel | LinkKind::Vlan { .. } => {}
            }
            self.gone(&link.netns, &link.name);
        }
        let name = &netns.name;
        self.state.wireguard_devices.retain(|device| device.netns != *name);
        self.state.sysctls.retain(|one| one.netns != *name);
        self.state.routes.retain(|one| one.netns != *name);
        self.state.rules.retain(|one| one.netns != *name);
        self.state.nft_tables.retain(|one| one.netns != *name);
        self.bound.remove(name);
        self.state.netns.retain(|one| one != netns);
    }

    fn find(&self, netns: &str, name: &str) -> Option<usize> {
        self.state.links.iter().position(|link| link.netns == netns && link.name == name)
    }

    fn insert(&mut self, mut link: LinkSpec) {
        complete(&mut link);
        self.born(&link.netns, &link.name);
        self.state.links.push(link);
    }

    fn gone(&mut self, netns: &str, name: &str) {
        let on_it = |other_netns: &str, link: &str| other_netns == netns && link == name;
        self.state.links.retain(|link| !on_it(&link.netns, &link.name));
        self.state.addresses.retain(|one| !on_it(&one.netns, &one.link));
        self.state.neighbours.retain(|one| !on_it(&one.netns, &one.link));
        self.state.programs.retain(|one| !on_it(&one.netns, &one.link));
        self.state.routes.retain(|one| match &one.kind {
            RouteKind::Unicast { link, .. } => !on_it(&one.netns, link),
            RouteKind::Blackhole => true,
        });
        let key = (netns.to_owned(), name.to_owned());
        self.indexes.remove(&key);
        self.down.remove(&key);
    }
}
