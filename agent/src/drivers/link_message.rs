//! Interfaces as rtnetlink's messages, both ways.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd, BorrowedFd},
};

use pathsteer_crds::{
    ownership,
    plan::{LinkKind, LinkSpec},
};
use pathsteer_wireguard::BackendKind;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::card::identity;
use crate::sys::netlink::name_of;

/// Every interface of our namespaces, as the kernel tells of it.
pub struct Found {
    /// Namespace and message.
    links: Vec<(String, LinkMessage)>,
    /// Veth ends by (own index, peer's index): a pair is two ends that name each other.
    ends: BTreeMap<(u32, u32), Vec<(String, String)>>,
    /// Names by namespace and index.
    names: BTreeMap<(String, u32), String>,
}

impl Found {
    pub fn new(links: Vec<(String, LinkMessage)>) -> Self {
        let (mut ends, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (netns, link) in &links {
            let Some(name) = name_of(link) else { continue };
            let index = link.header.index;
            names.insert((netns.clone(), index), name.to_owned());
            if let Some(peer) = parent_index(link) {
                let of_pair: &mut Vec<_> = ends.entry((index, peer)).or_default();
                of_pair.push((netns.clone(), name.to_owned()));
            }
        }
        Found { links, ends, names }
    }

    /// What each interface is, and whether it is up. A `Tunnel` is the kind of interface that `tunnels` works with. Where
    /// indexes of several namespaces coincide, an end of a pair has the peer that `declared` says.
    pub fn specs(&self, tunnels: BackendKind, declared: &[LinkSpec]) -> impl Iterator<Item = (LinkSpec, bool)> {
        let declared: BTreeMap<(&str, &str), &LinkKind> =
            declared.iter().map(|one| ((&*one.netns, &*one.name), &one.kind)).collect();
        self.links.iter().filter_map(move |(netns, link)| {
            let declared = declared.get(&(&**netns, name_of(link)?)).copied();
            Some((self.spec(netns, link, tunnels, declared)?, link.header.flags.contains(LinkFlags::Up)))
        })
    }

    fn spec(
        &self,
        netns: &str,
        link: &LinkMessage,
        tunnels: BackendKind,
        declared: Option<&LinkKind>,
    ) -> Option<LinkSpec> {
        let name = name_of(link)?;
        let kind = self.kind(netns, name, link, tunnels, declared);
        let mut spec = LinkSpec::new(netns, name, kind);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => spec.mtu = Some(*mtu),
                LinkAttribute::GsoMaxSegs(segments) => spec.gso_max_segs = Some(*segments),
                LinkAttribute::Address(mac) if mac.len() == 6 => spec.mac = Some(format_mac(mac)),
                _ => {}
            }
        }
        spec.card = (spec.kind == LinkKind::Nic).then(|| identity(link));
        Some(spec)
    }

    fn kind(
        &self,
        netns: &str,
        name: &str,
        link: &LinkMessage,
        tunnels: BackendKind,
        declared: Option<&LinkKind>,
    ) -> LinkKind {
        if link.header.flags.contains(LinkFlags::Loopback) {
            return LinkKind::Loopback;
        }
        if !name.starts_with(ownership::PREFIX) || ownership::is_card_link(name) {
            return LinkKind::Nic;
        }
        let (kind, data) = info(link);
        match kind {
            Some(kind) if *kind == tunnel(tunnels) => LinkKind::Tunnel,
            Some(InfoKind::Vlan) => self.vlan(netns, link, data).unwrap_or_else(something_else),
            Some(InfoKind::Veth) => self.veth(netns, name, link, declared).unwrap_or_else(something_else),
            _ => something_else(),
        }
    }

    fn veth(&self, netns: &str, name: &str, link: &LinkMessage, declared: Option<&LinkKind>) -> Option<LinkKind> {
        let peers = self.ends.get(&(parent_index(link)?, link.header.index))?.iter();
        let others = peers.filter(|(n, l)| (&**n, &**l) != (netns, name));
        let kinds = others.map(|(netns, name)| LinkKind::Veth { peer_netns: netns.clone(), peer: name.clone() });
        let mut kinds: Vec<LinkKind> = kinds.collect();
        let fits = kinds.iter().position(|kind| Some(kind) == declared).unwrap_or(0);
        (!kinds.is_empty()).then(|| kinds.swap_remove(fits))
    }

    fn vlan(&self, netns: &str, link: &LinkMessage, data: Option<&InfoData>) -> Option<LinkKind> {
        // With the parent in another namespace the index is one of that namespace.
        if link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_))) {
            return None;
        }
        let Some(InfoData::Vlan(data)) = data else { return None };
        let id = data.iter().find_map(|info| match info {
            InfoVlan::Id(id) => Some(*id),
            _ => None,
        })?;
        let parent = self.names.get(&(netns.to_owned(), parent_index(link)?))?.clone();
        Some(LinkKind::Vlan { parent, id })
    }
}

/// An interface with a name of ours that is none of what we make, or not whole: nothing declared is like it, so it makes
/// room.
fn something_else() -> LinkKind {
    LinkKind::Veth { peer_netns: "?".to_owned(), peer: "?".to_owned() }
}

/// What a tunnel is made of.
fn tunnel(kind: BackendKind) -> InfoKind {
    match kind {
        BackendKind::Kernel => InfoKind::Wireguard,
        BackendKind::Userspace => InfoKind::Tun,
    }
}

fn info(link: &LinkMessage) -> (Option<&InfoKind>, Option<&InfoData>) {
    let (mut kind, mut data) = (None, None);
    for attribute in &link.attributes {
        let LinkAttribute::LinkInfo(infos) = attribute else { continue };
        for info in infos {
            match info {
                LinkInfo::Kind(found) => kind = Some(found),
                LinkInfo::Data(found) => data = Some(found),
                _ => {}
            }
        }
    }
    (kind, data)
}

/// The other end of a veth, the trunk of a segment.
fn parent_index(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

/// Makes a pair with each end in its namespace. This end may come up at once; the other cannot, it is made first and would
/// have no peer yet (ENOTCONN).
pub fn new_veth(name: &str, peer: &str, peer_netns: BorrowedFd) -> LinkMessage {
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
    other.attributes.push(LinkAttribute::NetNsFd(peer_netns.as_raw_fd()));
    new(name, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(other))))
}

/// Makes the segment `id` of the interface with index `parent`.
pub fn new_vlan(name: &str, parent: u32, id: u16) -> LinkMessage {
    let mut message = new(name, InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(id)])));
    message.attributes.push(LinkAttribute::Link(parent));
    message
}

/// Makes a WireGuard interface in `netns`. To be sent in the namespace where its UDP socket shall be: that stays where
/// the message came from.
pub fn new_wireguard(name: &str, netns: BorrowedFd) -> LinkMessage {
    let mut message = new(name, InfoKind::Wireguard, None);
    message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    message
}

fn new(name: &str, kind: InfoKind, data: Option<InfoData>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info.collect()));
    message
}

pub fn format_mac(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

pub fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    (bytes.len() == 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use rtnetlink::packet_core::{Emitable, Parseable};

    use super::*;

    /// A message as it reads after a journey through bytes, which is what the kernel would send back of it.
    fn travelled(message: &LinkMessage) -> LinkMessage {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        LinkMessage::parse(&bytes[..]).unwrap()
    }

    fn found(netns: &str, index: u32, message: &LinkMessage) -> (String, LinkMessage) {
        let mut message = travelled(message);
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        (netns.to_owned(), message)
    }

    fn kinds(links: Vec<(String, LinkMessage)>, tunnels: BackendKind) -> Vec<(String, LinkKind)> {
        Found::new(links).specs(tunnels, &[]).map(|(spec, _)| (spec.name, spec.kind)).collect()
    }

    fn card(name: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message
    }

    #[test]
    fn a_segment_is_made_of_its_trunk_and_its_id_and_found_by_them() {
        let links = vec![
            found("psvip", 7, &card("lan0")),
            found("psvip", 8, &card("lan1")),
            found("psup1", 8, &card("wan1")),
            found("psvip", 9, &new_vlan("psq100", 8, 100)),
        ];
        let expected = ("psq100".to_owned(), LinkKind::Vlan { parent: "lan1".into(), id: 100 });
        assert_eq!(kinds(links, BackendKind::Userspace)[3], expected);
    }

    #[test]
    fn a_segment_makes_one_message_the_kernel_knows() {
        // rtnetlink(7): family, padding, type, index, flags, change mask; then IFLA_IFNAME (3), IFLA_LINKINFO (18)
        // with IFLA_INFO_KIND (1) and IFLA_INFO_DATA (2) with IFLA_VLAN_ID (1), IFLA_LINK (5).
        let message = new_vlan("psq5", 3, 5);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let mut expected = vec![0; 16];
        expected.extend([9, 0, 3, 0]);
        expected.extend(b"psq5\0\0\0\0");
        expected.extend([28, 0, 18, 0, 9, 0, 1, 0]);
        expected.extend(b"vlan\0\0\0\0");
        expected.extend([12, 0, 2, 0, 6, 0, 1, 0, 5, 0, 0, 0]);
        expected.extend([8, 0, 5, 0, 3, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_segment_whose_trunk_is_elsewhere_or_gone_is_none_of_ours() {
        let mut elsewhere = new_vlan("psq100", 7, 100);
        elsewhere.attributes.push(LinkAttribute::LinkNetNsId(0));
        let links = vec![
            found("psvip", 7, &card("lan0")),
            found("psvip", 9, &elsewhere),
            found("psvip", 10, &new_vlan("psq5", 77, 5)),
        ];
        let kinds = kinds(links, BackendKind::Userspace);
        assert_eq!((&kinds[1].1, &kinds[2].1), (&something_else(), &something_else()));
    }

    #[test]
    fn only_the_kind_of_interface_the_backend_works_with_is_a_tunnel() {
        let netns = File::open("/proc/self/ns/net").unwrap();
        let links = vec![
            found("psup1", 5, &new_wireguard("psw1a1", netns.as_fd())),
            found("psup1", 6, &new("psw1a2", InfoKind::Tun, None)),
            found("psup1", 7, &new("wg0", InfoKind::Wireguard, None)),
        ];
        let of = |tunnels| kinds(links.clone(), tunnels).into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
        assert_eq!(of(BackendKind::Kernel), [LinkKind::Tunnel, something_else(), LinkKind::Nic]);
        assert_eq!(of(BackendKind::Userspace), [something_else(), LinkKind::Tunnel, LinkKind::Nic]);
    }

    #[test]
    fn the_ends_of_a_pair_name_each_other_across_namespaces() {
        let end = |index, name: &str| {
            let mut message = new(name, InfoKind::Veth, None);
            message.attributes.push(LinkAttribute::Link(index));
            message
        };
        let links = vec![found("psvip", 4, &end(2, "psu1")), found("psup1", 2, &end(4, "psv"))];
        let veth = |netns: &str, peer: &str| LinkKind::Veth { peer_netns: netns.into(), peer: peer.into() };
        let expected = [("psu1".to_owned(), veth("psup1", "psv")), ("psv".to_owned(), veth("psvip", "psu1"))];
        assert_eq!(kinds(links.clone(), BackendKind::Kernel), expected);
        assert_eq!(kinds(links[..1].to_vec(), BackendKind::Kernel)[0].1, something_else());

        // The indexes of a card's pair coincide with those of ours: which of the two is its peer, only the plan tells.
        let lan = found("psup1", 2, &end(4, "lan9"));
        let declared = [LinkSpec::new("psvip", "psu1", veth("psup1", "psv"))];
        for links in [[lan.clone(), links[1].clone(), links[0].clone()], [links[1].clone(), lan, links[0].clone()]] {
            let specs = Found::new(links.to_vec());
            let psu1 =
                specs.specs(BackendKind::Kernel, &declared).map(|(spec, _)| spec).find(|spec| spec.name == "psu1");
            assert_eq!(psu1.unwrap().kind, veth("psup1", "psv"));
        }
    }
}
