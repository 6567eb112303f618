//! Permanent neighbours.

use std::net::IpAddr;

use pathsteer_agent_core::ownership::is_owned_neighbour;
use pathsteer_crds::plan::NeighbourSpec;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use super::{
    Kernel, gone_is_fine,
    link_message::{format_mac, parse_mac},
};
use crate::sys::{KernelError, netlink::Put};

/// Every permanent neighbour of our namespaces.
///
/// # Errors
/// What the kernel says.
pub async fn observe(kernel: &Kernel) -> Result<Vec<NeighbourSpec>, KernelError> {
    let mut observed = Vec::new();
    for (netns, netlink) in kernel.places() {
        let dumped = netlink.dump("neigh list", RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())).await?;
        for object in dumped {
            let RouteNetlinkMessage::NewNeighbour(message) = object else { continue };
            let (mut address, mut mac) = (None, None);
            for attribute in &message.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
                    NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(format_mac(bytes)),
                    _ => {}
                }
            }
            if let (NeighbourState::Permanent, Some(address), Some(mac)) = (message.header.state, address, mac)
                && let Some(link) = netlink.ifname(message.header.ifindex)
                && is_owned_neighbour(netns, &link, true)
            {
                observed.push(NeighbourSpec { netns: netns.to_owned(), link, address, mac });
            }
        }
    }
    Ok(observed)
}

/// # Errors
/// What the kernel says.
pub async fn put(kernel: &Kernel, spec: &NeighbourSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let mut message = message_of(spec, netlink.ifindex(&spec.link).await?);
    message.header.state = NeighbourState::Permanent;
    message.attributes.extend(parse_mac(&spec.mac).map(NeighbourAttribute::LinkLayerAddress));
    netlink
        .put(&format!("neigh add {}", describe(spec)), RouteNetlinkMessage::NewNeighbour(message), Put::Replace)
        .await
}

/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &NeighbourSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let index = match netlink.ifindex(&spec.link).await {
        Ok(index) => index,
        Err(error) => return gone_is_fine(Err(error)),
    };
    let message = RouteNetlinkMessage::DelNeighbour(message_of(spec, index));
    gone_is_fine(netlink.change(&format!("neigh delete {}", describe(spec)), message).await)
}

fn message_of(spec: &NeighbourSpec, ifindex: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if spec.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(spec.address.into()));
    message
}

fn describe(spec: &NeighbourSpec) -> String {
    format!("{} lladdr {} dev {}/{}", spec.address, spec.mac, spec.netns, spec.link)
}
