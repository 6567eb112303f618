//! Addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use pathsteer_agent_core::ownership::is_owned_address;
use pathsteer_crds::plan::AddressSpec;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::{Kernel, gone_is_fine};
use crate::sys::{KernelError, netlink::Put};

/// The addresses of our namespaces.
#[derive(Debug, Default)]
pub struct Addresses {
    /// All but those that the kernel makes.
    pub owned: Vec<AddressSpec>,
    /// Those that the kernel has made of router advertisements.
    pub advertised: Vec<AddressSpec>,
}

/// Every address of our namespaces but the loopback's own and IPv6 link-local ones.
///
/// # Errors
/// What the kernel says.
pub async fn observe(kernel: &Kernel) -> Result<Addresses, KernelError> {
    let mut observed = Addresses::default();
    for (netns, netlink) in kernel.places() {
        let dumped = netlink.dump("addr list", RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
        for object in dumped {
            let RouteNetlinkMessage::NewAddress(message) = object else { continue };
            let (Some(address), Some(link)) = (address_of(&message), netlink.ifname(message.header.index)) else {
                continue;
            };
            if !matches!(message.header.scope, AddressScope::Universe) || address.addr().is_loopback() {
                continue;
            }
            // what is advertised has a lifetime
            let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
            let place = if permanent { &mut observed.owned } else { &mut observed.advertised };
            if !permanent || is_owned_address(netns, &link, &address, permanent) {
                place.push(AddressSpec { netns: netns.to_owned(), link, address });
            }
        }
    }
    Ok(observed)
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    // IFA_LOCAL is the own address where IFA_ADDRESS is the far end of a point-to-point link
    let address = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

/// # Errors
/// What the kernel says.
pub async fn put(kernel: &Kernel, spec: &AddressSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let mut message = message_of(spec, netlink.ifindex(&spec.link).await?);
    if spec.address.addr().is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    netlink.put(&format!("addr add {}", describe(spec)), RouteNetlinkMessage::NewAddress(message), Put::Replace).await
}

/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &AddressSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let index = match netlink.ifindex(&spec.link).await {
        Ok(index) => index,
        Err(error) => return gone_is_fine(Err(error)),
    };
    let message = RouteNetlinkMessage::DelAddress(message_of(spec, index));
    gone_is_fine(netlink.change(&format!("addr delete {}", describe(spec)), message).await)
}

fn message_of(spec: &AddressSpec, ifindex: u32) -> AddressMessage {
    let address = spec.address.addr();
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = spec.address.prefix_len();
    message.header.index = ifindex;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn describe(spec: &AddressSpec) -> String {
    format!("{} dev {}/{}", spec.address, spec.netns, spec.link)
}
