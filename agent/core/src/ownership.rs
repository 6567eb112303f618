//! Which kernel objects are ours, told without memory. The drivers put into the observed state what is owned and, to
//! compare with, what is desired; nothing else is ever changed.

use ipnet::IpNet;
use pathsteer_crds::ownership::{
    ANCHOR_NETNS, HOST, ROUTE_PROTOCOL, RULE_PRIORITIES, VIP_NETNS, is_card_link, is_host_end, uplink_netns,
};
use pathsteer_crds::plan::{LinkSpec, PlanObjects};

/// Namespaces we made: exactly the names that we give. Somebody else's may begin as ours do, and all that is in ours is taken
/// away with them.
pub fn is_owned_netns(name: &str) -> bool {
    name == VIP_NETNS || name == ANCHOR_NETNS || (1..=8).any(|slot| name == uplink_netns(slot))
}

/// Links we made, and every card in a namespace of ours: we moved it there. In the node's own namespace (the empty name)
/// only what has exactly a name that we give there.
pub fn is_owned_link(netns: &str, name: &str) -> bool {
    let is_ours = || is_card_link(name) || is_host_end(name);
    if netns == HOST { is_ours() } else { is_owned_netns(netns) && name != "lo" }
}

/// Whether a link that is owned or desired belongs into the observed state. One that is down does not where it is declared
/// to be what it is: creating it sets it up. Where it is to be deleted it does, up or down.
pub fn is_link_observed(desired: &PlanObjects, found: &LinkSpec, up: bool) -> bool {
    let is_declared =
        |link: &LinkSpec| (&link.netns, &link.name, &link.kind) == (&found.netns, &found.name, &found.kind);
    up || !desired.links.iter().any(is_declared)
}

/// Addresses in our namespaces and on our links, but for those the kernel assigns by itself: 127.0.0.1 and ::1 of a loopback, the
/// link-local address of a link that is up, and what it makes of router advertisements, which is never `permanent`.
pub fn is_owned_address(netns: &str, link: &str, address: &IpNet, permanent: bool) -> bool {
    let from_kernel = !permanent
        || match address.addr() {
            std::net::IpAddr::V4(v4) => v4.is_loopback(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
    (is_owned_netns(netns) || is_owned_link(netns, link)) && !from_kernel
}

/// Permanent neighbours in our namespaces and on our links. The kernel's own entries are never permanent.
pub fn is_owned_neighbour(netns: &str, link: &str, permanent: bool) -> bool {
    (is_owned_netns(netns) || is_owned_link(netns, link)) && permanent
}

/// Rules in our range of priorities; in the node's own namespace, where others have rules too, with our protocol number as
/// well.
pub fn is_owned_rule(netns: &str, priority: u32, protocol: u8) -> bool {
    RULE_PRIORITIES.contains(&priority) && (is_owned_netns(netns) || (netns == HOST && protocol == ROUTE_PROTOCOL))
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::plan::LinkKind;

    use super::*;

    #[test]
    fn what_the_kernel_or_somebody_else_put_there_is_not_ours() {
        let address = |netns, link, text: &str, permanent| {
            is_owned_address(netns, link, &text.parse::<IpNet>().unwrap(), permanent)
        };
        assert!(address("psup1", "wan1", "192.0.2.7/24", true));
        assert!(!address("", "wan1", "192.0.2.7/24", true), "the node's own namespace");
        assert!(address("", "psh1", "169.254.79.5/30", true), "our link there");
        assert!(!address("psup1", "lo", "127.0.0.1/8", true));
        assert!(!address("psup1", "wan1", "fe80::1/64", true));
        assert!(!address("psup1", "wan1", "2001:db8::7/64", false), "by router advertisement");
        assert!(
            is_owned_link("psup1", "wan1")
                && is_owned_link("", "psh0")
                && is_owned_link("", "psh8")
                && is_owned_link("", "psn1")
        );
        assert!(
            !is_owned_link("", "ps0")
                && !is_owned_link("", "psh9")
                && !is_owned_link("", "psh")
                && !is_owned_link("", "psync0")
        );
        assert!(!is_owned_link("psup1", "lo") && !is_owned_link("", "wan1") && !is_owned_link("docker", "eth0"));
        assert!(["psvip", "psan", "psup1", "psup8"].iter().all(|name| is_owned_netns(name)));
        assert!(
            !["", "ps", "psync", "psup", "psup0", "psup9", "psup10", "psvip2"].iter().any(|name| is_owned_netns(name))
        );
        assert!(is_owned_neighbour("psvip", "lan0", true) && !is_owned_neighbour("", "lan0", true));
        assert!(is_owned_rule("psvip", 7_750, 0) && !is_owned_rule("psvip", 100, 77));
        assert!(is_owned_rule("", 7_701, 77) && !is_owned_rule("", 7_750, 0) && !is_owned_rule("mine", 7_750, 77));
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
