//! Interfaces.

use std::io;

use pathsteer_agent_core::ownership::{is_link_observed, is_owned_link};
use pathsteer_bpf::offload;
use pathsteer_crds::{
    ownership::{HOST, HOST_VETH, card_link, in_place_veth},
    plan::{LinkKind, LinkSpec, PlanObjects},
};
use pathsteer_wireguard::BackendKind;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

use super::{
    Kernel, card, gone_is_fine,
    link_message::{Found, new_veth, new_vlan, new_wireguard, parse_mac},
    radio,
};
use crate::{
    state::StateDir,
    sys::{
        KernelError,
        netlink::{Netlink, Put, name_of},
        netns, tun,
    },
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
    let company = radio::company(kernel, declared).await?;
    messages.retain(|(netns, link)| !company.contains(&(netns.clone(), link.header.index)));
    // The veths to cards that stay there, and cards that have come home by themselves when their namespace was deleted.
    let home = kernel.netlink(HOST)?.links().await?.into_iter();
    let ours = home.filter(|link| name_of(link).is_some_and(|name| is_owned_link(HOST, name)));
    messages.extend(ours.map(|link| (HOST.to_owned(), link)));
    let found = Found::new(messages);
    let observed =
        found.specs(kernel.tunnels, &declared.links).filter(|(spec, up)| is_link_observed(declared, spec, *up));
    let mut observed: Vec<LinkSpec> = observed.map(|(spec, _)| spec).collect();
    for declared in declared.links.iter().filter(|link| takes_whole(link)) {
        let same = |link: &&mut LinkSpec| (&link.netns, &link.name) == (&declared.netns, &declared.name);
        if let Some(link) = observed.iter_mut().find(same)
            && !segments(kernel, declared, offload::is_limited)?
        {
            // what takes more kinds whole than it shall is not as declared
            link.gso_max_segs = None;
        }
    }
    Ok(observed)
}

/// Whether anything of ours is in the node's own namespace, which is the calling thread's.
pub fn any_at_home() -> bool {
    let is_there = |name: &str| netns::ifindex(name).is_ok();
    is_there(HOST_VETH.0) || (1..=8).any(|slot| is_there(&in_place_veth(slot).0) || is_there(&card_link(slot)))
}

/// Whether packets of several segments may come whole, as far as the shim can number them.
fn takes_whole(spec: &LinkSpec) -> bool {
    spec.gso_max_segs.is_some_and(|segments| segments > 1)
}

/// Asks or tells the kernel which packets of several segments come whole to an interface.
fn segments<T>(
    kernel: &Kernel,
    LinkSpec { netns, name, .. }: &LinkSpec,
    work: fn(&str) -> io::Result<T>,
) -> Result<T, KernelError> {
    let fail = |error| KernelError::new(format!("segmentation of {netns}/{name}"), error);
    kernel.netlink(netns)?.netns.inside(|| work(name)).map_err(fail)
}

/// Makes an interface as declared and sets it up: made if it is missing, moved in if it is a NIC. `desired` says where a
/// tunnel's socket is.
///
/// # Errors
/// What the kernel says; a NIC that is nowhere says so.
pub async fn put(kernel: &Kernel, spec: &LinkSpec, desired: &PlanObjects, state: &StateDir) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let name = &spec.name;
    let mut attributes = attributes(kernel, spec);
    let index = match netlink.ifindex(name).await {
        Ok(index) => index,
        Err(_) if create(kernel, spec, &attributes, desired, state).await? => return Ok(()),
        Err(_) => netlink.ifindex(name).await?,
    };
    if takes_whole(spec) {
        segments(kernel, spec, offload::limit)?;
    }
    let mut message = LinkMessage::default();
    message.header.index = index;
    if !attributes.is_empty() {
        // Setting a MAC that it has already makes the kernel forget every neighbour on the link, permanent ones too.
        let found = netlink.link(name).await?;
        attributes.retain(|attribute| !found.attributes.contains(attribute));
    }
    if !attributes.is_empty() {
        let what = format!("link set {}/{name}", spec.netns);
        let mut set = message.clone();
        set.attributes = attributes;
        netlink.change(&what, RouteNetlinkMessage::SetLink(set)).await?;
    }
    set_up(&mut message);
    let up = netlink.change(&format!("link set {}/{name} up", spec.netns), RouteNetlinkMessage::SetLink(message)).await;
    match up {
        // The namespace its socket belonged to is gone: a WireGuard interface never gets another one.
        Err(error) if error.source.raw_os_error() == Some(libc::ENONET) => {
            remove(kernel, spec, state).await?;
            Err(error)
        }
        up => up,
    }
}

/// What is declared of an interface beside what it is.
fn attributes(kernel: &Kernel, spec: &LinkSpec) -> Vec<LinkAttribute> {
    let is_tun = (&spec.kind, kernel.tunnels) == (&LinkKind::Tunnel, BackendKind::Userspace);
    let declared = [
        is_tun.then_some(LinkAttribute::TxQueueLen(TUN_QUEUE)),
        spec.mtu.map(LinkAttribute::Mtu),
        spec.gso_max_segs.map(LinkAttribute::GsoMaxSegs),
        spec.mac.as_deref().and_then(parse_mac).map(LinkAttribute::Address),
    ];
    declared.into_iter().flatten().collect()
}

fn set_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// Makes an interface, and says whether it is all that is declared.
async fn create(
    kernel: &Kernel,
    spec: &LinkSpec,
    attributes: &[LinkAttribute],
    desired: &PlanObjects,
    state: &StateDir,
) -> Result<bool, KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let LinkSpec { netns, name, .. } = spec;
    let mut is_all = false;
    match &spec.kind {
        LinkKind::Loopback => Ok(()),
        LinkKind::Nic => card::take(kernel, spec, state).await,
        LinkKind::Veth { peer_netns, peer } => {
            let mut pair = new_veth(name, peer, kernel.netlink(peer_netns)?.netns.fd());
            // in one go, unless what comes whole has to be limited before any is let in
            is_all = !takes_whole(spec);
            if is_all {
                pair.attributes.extend_from_slice(attributes);
                set_up(&mut pair);
            }
            add(netlink, &format!("{netns}/{name} type veth"), pair).await
        }
        LinkKind::Vlan { parent, id } => {
            let parent = netlink.ifindex(parent).await?;
            add(netlink, &format!("{netns}/{name} type vlan id {id}"), new_vlan(name, parent, *id)).await
        }
        LinkKind::Tunnel => match kernel.tunnels {
            BackendKind::Userspace => {
                let fail = |error| KernelError::new(format!("tuntap add {netns}/{name}"), error);
                netlink.netns.inside(|| tun::create(name)).map_err(fail)
            }
            BackendKind::Kernel => {
                let what = format!("{netns}/{name} type wireguard");
                let device = desired.wireguard_devices.iter().find(|device| device.link == *name);
                let device = device.ok_or_else(|| {
                    KernelError::new(format!("link add {what}"), io::Error::other("no WireGuard device is declared"))
                })?;
                let underlay = kernel.netlink(&device.underlay_netns)?;
                add(underlay, &what, new_wireguard(name, netlink.netns.fd())).await
            }
        },
    }
    .map(|()| is_all)
}

async fn add(netlink: &Netlink, what: &str, message: LinkMessage) -> Result<(), KernelError> {
    netlink.put(&format!("link add {what}"), RouteNetlinkMessage::NewLink(message), Put::New).await
}

/// Removes an interface; a NIC goes back to the node's own namespace instead.
///
/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &LinkSpec, state: &StateDir) -> Result<(), KernelError> {
    match spec.kind {
        LinkKind::Loopback => Ok(()),
        LinkKind::Nic => card::give_back(kernel, spec, state).await,
        LinkKind::Veth { .. } | LinkKind::Tunnel | LinkKind::Vlan { .. } => {
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
