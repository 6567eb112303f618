//! Routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use pathsteer_crds::plan::MAIN_TABLE;
use pathsteer_crds::{
    ownership,
    plan::{Family, RouteKind, RouteSpec},
};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHopFlags, RouteProtocol,
        RouteScope, RouteType,
    },
};

use super::{Kernel, gone_is_fine};
use crate::sys::{KernelError, netlink::Put};

/// Every route of ours, known by its protocol number, in our namespaces.
///
/// # Errors
/// What the kernel says.
pub async fn observe(kernel: &Kernel) -> Result<Vec<RouteSpec>, KernelError> {
    let mut observed = Vec::new();
    for (netns, netlink) in kernel.places() {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            // of thousands that the kernel makes for addresses, none is ours
            all.header.protocol = RouteProtocol::from(ownership::ROUTE_PROTOCOL);
            for object in netlink.dump("route list", RouteNetlinkMessage::GetRoute(all)).await? {
                let RouteNetlinkMessage::NewRoute(message) = object else { continue };
                if u8::from(message.header.protocol) == ownership::ROUTE_PROTOCOL {
                    observed.extend(spec_of(netns, &message, |index| netlink.ifname(index)));
                }
            }
        }
    }
    Ok(observed)
}

fn spec_of(netns: &str, message: &RouteMessage, name: impl Fn(u32) -> Option<String>) -> Option<RouteSpec> {
    let mut destination = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    let (mut link, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => link = name(*index),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(mtu_of),
            _ => {}
        }
    }
    let kind = match message.header.kind {
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unicast => RouteKind::Unicast { link: link?, gateway, source },
        _ => return None,
    };
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(RouteSpec { mtu, ..RouteSpec::new(netns, table, destination, metric, kind) })
}

fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None }
}

/// Namespaces and families with a working default route, and its gateway.
pub type Defaults = BTreeMap<(String, Family), Option<IpAddr>>;

/// The working default routes in the main tables of `namespaces`, whoever made them (we, of leases; the kernel, of router
/// advertisements). One whose link has no carrier does not work.
///
/// # Errors
/// What the kernel says.
pub async fn defaults(kernel: &Kernel, namespaces: &BTreeSet<String>) -> Result<Defaults, KernelError> {
    let mut found = Defaults::new();
    for (netns, netlink) in kernel.owned().filter(|(netns, _)| namespaces.contains(*netns)) {
        for (family, address_family) in [(Family::Ipv4, AddressFamily::Inet), (Family::Ipv6, AddressFamily::Inet6)] {
            let mut all = RouteMessage::default();
            all.header.address_family = address_family;
            for object in netlink.dump("route list", RouteNetlinkMessage::GetRoute(all)).await? {
                let RouteNetlinkMessage::NewRoute(message) = object else { continue };
                if is_working_default(&message) {
                    found.entry((netns.to_owned(), family)).or_insert_with(|| gateway_of(&message));
                }
            }
        }
    }
    Ok(found)
}

/// Gateways of the working default routes in the main table of the node's own namespace, by link and family.
pub type HostDefaults = BTreeMap<(String, Family), Option<IpAddr>>;

/// The default routes of the node's own namespace by each of `links`, the one of lowest metric for each.
///
/// # Errors
/// What the kernel says.
pub async fn host_defaults(kernel: &Kernel, links: &BTreeSet<String>) -> Result<HostDefaults, KernelError> {
    let mut found: BTreeMap<(String, Family), (u32, Option<IpAddr>)> = BTreeMap::new();
    if links.is_empty() {
        return Ok(HostDefaults::new());
    }
    let netlink = kernel.netlink(ownership::HOST)?;
    let names = netlink.link_names().await?;
    for (family, address_family) in [(Family::Ipv4, AddressFamily::Inet), (Family::Ipv6, AddressFamily::Inet6)] {
        let mut all = RouteMessage::default();
        all.header.address_family = address_family;
        for object in netlink.dump("route list", RouteNetlinkMessage::GetRoute(all)).await? {
            let RouteNetlinkMessage::NewRoute(message) = object else { continue };
            let Some(link) = is_working_default(&message).then(|| out_of(&message, &names)).flatten() else { continue };
            if !links.contains(link) {
                continue;
            }
            let way = (metric_of(&message), gateway_of(&message));
            let best = found.entry((link.to_owned(), family)).or_insert(way);
            *best = way.min(*best);
        }
    }
    Ok(found.into_iter().map(|(key, (_, gateway))| (key, gateway)).collect())
}

fn out_of<'a>(message: &RouteMessage, names: &'a BTreeMap<u32, String>) -> Option<&'a str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => names.get(index).map(String::as_str),
        _ => None,
    })
}

fn metric_of(message: &RouteMessage) -> u32 {
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or(0)
}

fn is_working_default(message: &RouteMessage) -> bool {
    let dead = RouteFlags::Linkdown | RouteFlags::Dead;
    let dead_hop = RouteNextHopFlags::Linkdown | RouteNextHopFlags::Dead;
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let works = match hops {
        Some(hops) => hops.iter().any(|hop| !hop.flags.intersects(dead_hop)),
        None => !message.header.flags.intersects(dead),
    };
    u32::from(message.header.table) == MAIN_TABLE
        && message.header.destination_prefix_length == 0
        && message.header.kind == RouteType::Unicast
        && works
}

fn gateway_of(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        _ => None,
    })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// Adds a route or replaces the one with the same table, destination and metric.
///
/// # Errors
/// What the kernel says.
pub async fn put(kernel: &Kernel, spec: &RouteSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let mut message = message_of(spec);
    if let RouteKind::Unicast { link, gateway, source } = &spec.kind {
        message.attributes.push(RouteAttribute::Oif(netlink.ifindex(link).await?));
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
        message.attributes.extend(spec.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        if gateway.is_none() && spec.destination.addr().is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
    }
    netlink
        .put(&format!("route replace {}", describe(spec)), RouteNetlinkMessage::NewRoute(message), Put::Replace)
        .await
}

/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &RouteSpec) -> Result<(), KernelError> {
    let netlink = kernel.netlink(&spec.netns)?;
    let mut message = message_of(spec);
    // Any scope: a route without a gateway has another one than a route with one, and is not found by it.
    message.header.scope = RouteScope::NoWhere;
    gone_is_fine(
        netlink.change(&format!("route delete {}", describe(spec)), RouteNetlinkMessage::DelRoute(message)).await,
    )
}

fn message_of(spec: &RouteSpec) -> RouteMessage {
    let mut message = RouteMessage::default();
    let destination = spec.destination;
    message.header.address_family =
        if destination.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.protocol = RouteProtocol::from(ownership::ROUTE_PROTOCOL);
    message.header.kind = match spec.kind {
        RouteKind::Unicast { .. } => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
    };
    if destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(destination.addr().into()));
    }
    message.attributes.push(RouteAttribute::Table(spec.table));
    message.attributes.push(RouteAttribute::Priority(spec.metric));
    message
}

fn describe(spec: &RouteSpec) -> String {
    format!("{} table {} metric {} in {}", spec.destination, spec.table, spec.metric, spec.netns)
}
