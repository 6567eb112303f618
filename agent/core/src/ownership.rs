//! Which kernel objects are ours, told without memory. The drivers put into the observed state what is owned and, to
//! compare with, what is desired; nothing else is ever changed.

use ipnet::IpNet;
use pathsteer_crds::ownership::{NFT_TABLE, PREFIX, ROUTE_PROTOCOL, RULE_PRIORITIES};
use pathsteer_crds::plan::{LinkSpec, PlanObjects};

/// Namespaces we made.
pub fn is_owned_netns(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Links we made, and every card in a namespace of ours: we moved it there. The empty name is the node's own namespace.
pub fn is_owned_link(netns: &str, name: &str) -> bool {
    name.starts_with(PREFIX) || (is_owned_netns(netns) && name != "lo")
}

/// Whether a link that is owned or desired belongs into the observed state. One that is down does not where it is declared
/// to be what it is: creating it sets it up. Where it is to be deleted it does, up or down.
pub fn is_link_observed(desired: &PlanObjects, found: &LinkSpec, up: bool) -> bool {
    let is_declared =
        |link: &LinkSpec| (&link.netns, &link.name, &link.kind) == (&found.netns, &found.name, &found.kind);
    up || !desired.links.iter().any(is_declared)
}

/// Addresses in our namespaces, but for those the kernel assigns by itself: 127.0.0.1 and ::1 of a loopback, and the
/// link-local address of a link that is up.
pub fn is_owned_address(netns: &str, address: &IpNet) -> bool {
    let from_kernel = match address.addr() {
        std::net::IpAddr::V4(v4) => v4.is_loopback(),
        std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    is_owned_netns(netns) && !from_kernel
}

/// Permanent neighbours in our namespaces. The kernel's own entries are never permanent.
pub fn is_owned_neighbour(netns: &str, permanent: bool) -> bool {
    is_owned_netns(netns) && permanent
}

/// Routes with our protocol number.
pub fn is_owned_route(protocol: u8) -> bool {
    protocol == ROUTE_PROTOCOL
}

/// Rules in our range of priorities.
pub fn is_owned_rule(priority: u32) -> bool {
    RULE_PRIORITIES.contains(&priority)
}

/// Our nft table in a namespace of ours, family inet.
pub fn is_owned_nft_table(netns: &str, family: &str, name: &str) -> bool {
    is_owned_netns(netns) && family == "inet" && name == NFT_TABLE
}
