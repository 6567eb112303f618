//! What the node has given a card: its own addresses, and the routes and permanent neighbours by it. All of it goes when
//! the card changes its namespace. It is kept as the kernel told it, so that nothing of it is lost.

use std::io;

use rtnetlink::{
    packet_core::NetlinkMessage,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressHeaderFlags, AddressMessage, AddressScope},
        neighbour::{NeighbourMessage, NeighbourState},
        route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol},
    },
};

use crate::sys::{
    KernelError,
    netlink::{Netlink, Put},
};

/// Holds what the kernel makes of addresses by itself (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// Everything that somebody has put on the interface `index`, in an order in which it can be put there again. What has a
/// lifetime (leases, advertised prefixes) is not: it would be stale.
///
/// # Errors
/// What the kernel says.
pub async fn read(home: &Netlink, index: u32) -> Result<Vec<Vec<u8>>, KernelError> {
    let (addresses, neighbours) = (AddressMessage::default(), NeighbourMessage::default());
    let mut all = home.dump("addr list", RouteNetlinkMessage::GetAddress(addresses)).await?;
    all.extend(home.dump("neigh list", RouteNetlinkMessage::GetNeighbour(neighbours)).await?);
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut routes = RouteMessage::default();
        routes.header.address_family = family;
        let mut routes = home.dump("route list", RouteNetlinkMessage::GetRoute(routes)).await?;
        // a gateway has to be reached before a route leads by it
        routes.sort_by_key(|route| matches!(route, RouteNetlinkMessage::NewRoute(route) if has_gateway(route)));
        all.extend(routes);
    }
    Ok(all.into_iter().filter_map(|object| setting(object, index)).map(serialize).collect())
}

/// Puts on the interface `index` what [`read`] has found; what cannot be is left out, and logged. The interface is up.
pub async fn write(home: &Netlink, index: u32, settings: &[Vec<u8>]) {
    for setting in settings {
        let put = match deserialize(setting).map(|object| addressed_to(object, index)) {
            Ok(object) => home.put("restore a card's settings", object, Put::Replace).await,
            Err(error) => Err(KernelError::new("read a card's settings", error)),
        };
        put.unwrap_or_else(|error| tracing::warn!(%error, "not restored"));
    }
}

fn setting(object: RouteNetlinkMessage, index: u32) -> Option<RouteNetlinkMessage> {
    match object {
        RouteNetlinkMessage::NewAddress(address) => {
            let lasts = address.header.flags.contains(AddressHeaderFlags::Permanent);
            // the kernel makes those of scope link when the interface comes up
            let own = address.header.scope != AddressScope::Link || address.header.family == AddressFamily::Inet;
            (address.header.index == index && lasts && own).then_some(RouteNetlinkMessage::NewAddress(address))
        }
        RouteNetlinkMessage::NewNeighbour(neighbour) => {
            let lasts = neighbour.header.state == NeighbourState::Permanent;
            (neighbour.header.ifindex == index && lasts).then_some(RouteNetlinkMessage::NewNeighbour(neighbour))
        }
        RouteNetlinkMessage::NewRoute(mut route) => {
            let kernels = [RouteProtocol::Kernel, RouteProtocol::Ra, RouteProtocol::IcmpRedirect];
            let lasts = !kernels.contains(&route.header.protocol) && table_of(&route) != LOCAL_TABLE;
            // Of the state that the kernel shows among the flags it takes none back.
            route.header.flags &= RouteFlags::Onlink;
            (out_of(&route) == Some(index) && lasts).then_some(RouteNetlinkMessage::NewRoute(route))
        }
        _ => None,
    }
}

/// The same for the interface when it has another index now.
fn addressed_to(mut object: RouteNetlinkMessage, index: u32) -> RouteNetlinkMessage {
    match &mut object {
        RouteNetlinkMessage::NewAddress(address) => address.header.index = index,
        RouteNetlinkMessage::NewNeighbour(neighbour) => neighbour.header.ifindex = index,
        RouteNetlinkMessage::NewRoute(route) => {
            for attribute in &mut route.attributes {
                if let RouteAttribute::Oif(out) = attribute {
                    *out = index;
                }
            }
        }
        _ => {}
    }
    object
}

fn has_gateway(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)))
}

fn table_of(route: &RouteMessage) -> u32 {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or_else(|| route.header.table.into())
}

fn out_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn serialize(object: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(object);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn deserialize(bytes: &[u8]) -> io::Result<RouteNetlinkMessage> {
    use rtnetlink::packet_core::NetlinkPayload::InnerMessage;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
        .map_err(|error| io::Error::other(error.to_string()))?
        .payload
    {
        InnerMessage(object) => Ok(object),
        other => Err(io::Error::other(format!("{other:?} is no setting"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(protocol: RouteProtocol, table: u32) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.protocol = protocol;
        route.header.flags = RouteFlags::Onlink | RouteFlags::Linkdown;
        route.attributes = vec![RouteAttribute::Oif(7), RouteAttribute::Table(table)];
        route
    }

    #[test]
    fn a_setting_comes_back_for_whatever_index_the_interface_has_then() {
        let found = setting(RouteNetlinkMessage::NewRoute(route(RouteProtocol::Static, 254)), 7).unwrap();
        let back = addressed_to(deserialize(&serialize(found)).unwrap(), 9);
        let RouteNetlinkMessage::NewRoute(back) = back else { panic!("{back:?}") };
        assert_eq!((out_of(&back), table_of(&back)), (Some(9), 254));
        assert_eq!(back.header.flags, RouteFlags::Onlink, "the kernel refuses a route that says it is down");
        assert!(deserialize(&[1, 2, 3]).is_err());
    }

    #[test]
    fn what_the_kernel_makes_and_what_other_interfaces_have_is_no_setting() {
        let is_setting = |route: RouteMessage, index| setting(RouteNetlinkMessage::NewRoute(route), index).is_some();
        assert!(is_setting(route(RouteProtocol::Static, 254), 7));
        assert!(!is_setting(route(RouteProtocol::Static, 254), 8), "of another interface");
        assert!(!is_setting(route(RouteProtocol::Kernel, 254), 7), "it comes with its address");
        assert!(!is_setting(route(RouteProtocol::Static, LOCAL_TABLE), 7), "the kernel's own table");
    }
}
