//! Interfaces.

use std::{collections::BTreeMap, io, os::fd::AsRawFd};

use pathsteer_agent_core::ownership::is_link_observed;
use pathsteer_crds::{
    ownership,
    plan::{LinkKind, LinkSpec, PlanObjects},
};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{Kernel, gone_is_fine};
use crate::sys::{
    KernelError,
    netlink::{Put, name_of},
    tun,
};

/// Packets that wait for a worker, as many as for the kernel's own WireGuard. A TUN's 500 are a quarter of a second of a
/// call and a download at once: a busy machine keeps a worker waiting for longer.
const TUN_QUEUE: u32 = 1_000;

/// Every interface of our namespaces; a declared one that is down is left out, so that the difference shows.
///
/// # Errors
/// What the kernel says.
pub async fn observe(kernel: &Kernel, declared: &PlanObjects) -> Result<Vec<LinkSpec>, KernelError> {
    let mut messages = Vec::new();
    for (netns, netlink) in kernel.owned() {
        for link in netlink.links().await? {
            messages.push((netns.to_owned(), link));
        }
    }
    let ends = veth_ends(&messages);
    let mut observed = Vec::new();
    for (netns, link) in &messages {
        let Some(spec) = spec_of(netns, link, &ends) else { continue };
        if is_link_observed(declared, &spec, link.header.flags.contains(LinkFlags::Up)) {
            observed.push(spec);
        }
    }
    Ok(observed)
}

/// Veth ends by (own index, peer's index): a pair is two ends that name each other.
type VethEnds = BTreeMap<(u32, u32), Vec<(String, String)>>;

fn veth_ends(messages: &[(String, LinkMessage)]) -> VethEnds {
    let mut ends = VethEnds::new();
    for (netns, link) in messages {
        if let (Some(name), Some(peer)) = (name_of(link), peer_index(link)) {
            ends.entry((link.header.index, peer)).or_default().push((netns.clone(), name.to_owned()));
        }
    }
    ends
}

fn peer_index(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

fn spec_of(netns: &str, link: &LinkMessage, ends: &VethEnds) -> Option<LinkSpec> {
    let name = name_of(link)?.to_owned();
    let mut spec =
        LinkSpec { netns: netns.to_owned(), name, kind: LinkKind::Nic, mtu: None, mac: None, gso_max_segs: None };
    let mut kind = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => spec.mtu = Some(*mtu),
            LinkAttribute::GsoMaxSegs(segments) => spec.gso_max_segs = Some(*segments),
            LinkAttribute::Address(mac) if mac.len() == 6 => spec.mac = Some(format_mac(mac)),
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let ours = spec.name.starts_with(ownership::PREFIX);
    spec.kind = match kind {
        _ if link.header.flags.contains(LinkFlags::Loopback) => LinkKind::Loopback,
        Some(InfoKind::Tun) if ours => LinkKind::Tun,
        Some(InfoKind::Veth) if ours => {
            let peers = ends.get(&(peer_index(link)?, link.header.index));
            match peers.and_then(|peers| peers.iter().find(|(n, l)| (n, l) != (&spec.netns, &spec.name))) {
                Some((netns, name)) => LinkKind::Veth { peer_netns: netns.clone(), peer: name.clone() },
                None => LinkKind::Veth { peer_netns: "?".to_owned(), peer: "?".to_owned() },
            }
        }
        _ => LinkKind::Nic,
    };
    Some(spec)
}

/// Makes an interface as declared and sets it up: made if it is missing, moved in if it is a NIC.
///
/// # Errors
/// What the kernel says; a NIC that is nowhere says so.
pub async fn put(kernel: &Kernel, spec: &LinkSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let name = &spec.name;
    if netlink.ifindex(name).await.is_err() {
        match &spec.kind {
            LinkKind::Loopback => {}
            LinkKind::Tun => {
                let (ifname, what) = (name.clone(), format!("tuntap add {name}"));
                netlink.netns.run(move || tun::create(&ifname)).map_err(|error| KernelError::new(what, error))?;
            }
            LinkKind::Veth { peer_netns, peer } => create_veth(kernel, spec, peer_netns, peer).await?,
            LinkKind::Nic => move_link(kernel, "", &spec.netns, name).await.map_err(advise)?,
        }
    }
    let mut message = LinkMessage::default();
    message.header.index = netlink.ifindex(name).await?;
    if spec.kind == LinkKind::Tun {
        message.attributes.push(LinkAttribute::TxQueueLen(TUN_QUEUE));
    }
    if let Some(mtu) = spec.mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if let Some(segments) = spec.gso_max_segs {
        message.attributes.push(LinkAttribute::GsoMaxSegs(segments));
    }
    if let Some(mac) = spec.mac.as_deref().and_then(parse_mac) {
        message.attributes.push(LinkAttribute::Address(mac));
    }
    netlink.change(&format!("link set {}/{name}", spec.netns), RouteNetlinkMessage::SetLink(message.clone())).await?;
    message.attributes.clear();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink.change(&format!("link set {}/{name} up", spec.netns), RouteNetlinkMessage::SetLink(message)).await
}

/// Both ends are born in their namespaces with one message. They come up later: `up` here gives ENOTCONN, because the
/// other end is not there yet.
async fn create_veth(kernel: &Kernel, spec: &LinkSpec, peer_netns: &str, peer: &str) -> Result<(), KernelError> {
    let (here, there) = (kernel.netlink(&spec.netns)?, kernel.netlink(peer_netns)?);
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
    other.attributes.push(LinkAttribute::NetNsFd(there.netns.fd().as_raw_fd()));
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(spec.name.clone()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
    ]));
    here.put(
        &format!("link add {}/{} type veth", spec.netns, spec.name),
        RouteNetlinkMessage::NewLink(message),
        Put::New,
    )
    .await
}

/// Removes an interface; a NIC goes back to the node's own namespace instead.
///
/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &LinkSpec) -> Result<(), KernelError> {
    match spec.kind {
        LinkKind::Loopback => Ok(()),
        LinkKind::Nic => gone_is_fine(move_link(kernel, &spec.netns, "", &spec.name).await),
        LinkKind::Veth { .. } | LinkKind::Tun => {
            let netlink = kernel.netlink(&spec.netns)?;
            let mut message = LinkMessage::default();
            let what = format!("link delete {}/{}", spec.netns, spec.name);
            match netlink.ifindex(&spec.name).await {
                Ok(index) => message.header.index = index,
                Err(error) => return gone_is_fine(Err(error)),
            }
            gone_is_fine(netlink.change(&what, RouteNetlinkMessage::DelLink(message)).await)
        }
    }
}

async fn move_link(kernel: &Kernel, from: &str, to: &str, name: &str) -> Result<(), KernelError> {
    let netlink = kernel.netlink(from)?;
    let mut message = LinkMessage::default();
    message.header.index = netlink.ifindex(name).await?;
    message.attributes.push(LinkAttribute::NetNsFd(kernel.netlink(to)?.netns.fd().as_raw_fd()));
    netlink.change(&format!("link set {name} netns {to:?}"), RouteNetlinkMessage::SetLink(message)).await
}

/// A card that is nowhere: unplugged, or called something else.
fn advise(error: KernelError) -> KernelError {
    match error.source.raw_os_error() {
        Some(libc::ENODEV) => KernelError {
            source: io::Error::other("the node has no such interface: plug it in, or correct its name"),
            ..error
        },
        _ => error,
    }
}

pub(super) fn format_mac(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

pub(super) fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
    (bytes.len() == 6).then_some(bytes)
}
