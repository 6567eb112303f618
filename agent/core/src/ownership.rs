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

/// Addresses in our namespaces, but for those the kernel assigns by itself: 127.0.0.1 and ::1 of a loopback, the
/// link-local address of a link that is up, and what it makes of router advertisements, which is never `permanent`.
pub fn is_owned_address(netns: &str, address: &IpNet, permanent: bool) -> bool {
    let from_kernel = !permanent
        || match address.addr() {
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

#[cfg(test)]
mod tests {
    use pathsteer_crds::plan::LinkKind;

    use super::*;

    #[test]
    fn what_the_kernel_or_somebody_else_put_there_is_not_ours() {
        let address = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(is_owned_address("psup1", &address("192.0.2.7/24"), true));
        assert!(!is_owned_address("", &address("192.0.2.7/24"), true), "the node's own namespace");
        assert!(!is_owned_address("psup1", &address("127.0.0.1/8"), true));
        assert!(!is_owned_address("psup1", &address("fe80::1/64"), true));
        assert!(!is_owned_address("psup1", &address("2001:db8::7/64"), false), "by router advertisement");
        assert!(is_owned_link("psup1", "wan1") && is_owned_link("", "ps0"));
        assert!(!is_owned_link("psup1", "lo") && !is_owned_link("", "wan1") && !is_owned_link("docker", "eth0"));
        assert!(is_owned_nft_table("psvip", "inet", "pathsteer"));
        assert!(!is_owned_nft_table("psvip", "ip", "pathsteer") && !is_owned_nft_table("", "inet", "pathsteer"));
    }

    #[test]
    fn a_link_that_is_down_shows_only_where_it_has_to_go() {
        let tun = LinkSpec::new("psvip", "ps9", LinkKind::Tunnel);
        let declared = PlanObjects { links: vec![tun.clone()], ..PlanObjects::default() };
        assert!(is_link_observed(&declared, &tun, true));
        assert!(!is_link_observed(&declared, &tun, false), "down is not as declared");
        assert!(is_link_observed(&PlanObjects::default(), &tun, false), "to be deleted");
        let other = LinkSpec { kind: LinkKind::Nic, ..tun };
        assert!(is_link_observed(&declared, &other, false), "in the way");
    }
}
