//! How PathSteer's own kernel state is recognised after total amnesia. What does not carry one of these is not ours
//! and is never changed.

use std::ops::RangeInclusive;

/// Prefix of every namespace and interface we create. Names are built from slot and anchor index, never from
/// user names, so that they fit the kernel's 15 characters.
pub const PREFIX: &str = "ps";
/// Route protocol of every route we add (`ip route … proto 77`); unassigned in iproute2's rt_protos.
pub const ROUTE_PROTOCOL: u8 = 77;
/// Priorities of every ip rule we add.
pub const RULE_PRIORITIES: RangeInclusive<u32> = 7_700..=7_999;
/// Routing tables we fill.
pub const TABLES: RangeInclusive<u32> = 7_700..=7_999;
/// Name of our nft table, one per namespace, family inet.
pub const NFT_TABLE: &str = "pathsteer";
/// Folder below the bpffs that holds our pins, one folder per layout version below it.
pub const BPF_FOLDER: &str = "pathsteer";

/// The routing table of the path through `slot` (1-8) to the anchor with index `anchor` (1-15; 0 on an anchor).
pub const fn path_table(slot: u8, anchor: u8) -> u32 {
    7_700 + (anchor as u32) * 16 + slot as u32
}

/// Priority of the rule that sends marked packets to [`path_table`]: the same number.
pub const fn path_rule_priority(slot: u8, anchor: u8) -> u32 {
    path_table(slot, anchor)
}

/// Priority of the rule that stops what leaves the shim without a path: after every path rule, before the main table.
pub const NO_PATH_RULE_PRIORITY: u32 = 7_999;

/// An edge's table of ways straight to the internet, the preferred uplink first. [`path_table`] with anchor index 0, not
/// used at an edge otherwise, holds the one of a single slot.
pub const DIRECT_TABLE: u32 = 7_990;
/// Priority of the rule that sends marked flows to [`DIRECT_TABLE`].
pub const DIRECT_RULE_PRIORITY: u32 = 7_990;
/// Priority of the rules that send whatever comes in from a segment outside the fabric to [`DIRECT_TABLE`], so that not
/// even an emptied nft table leads a guest into a tunnel.
pub const OUTSIDE_RULE_PRIORITY: u32 = 7_991;

/// The node's own namespace, as plans name it.
pub const HOST: &str = "";

/// The edge's namespace for VIPs, LANs and the shim.
pub const VIP_NETNS: &str = "psvip";
/// The anchor's namespace.
pub const ANCHOR_NETNS: &str = "psan";

/// The namespace of the uplink in `slot`.
pub fn uplink_netns(slot: u8) -> String {
    format!("psup{slot}")
}

/// Whether a namespace is that of an uplink.
pub fn is_uplink_netns(name: &str) -> bool {
    (1..=8).any(|slot| name == uplink_netns(slot))
}

/// The shim pair: packets routed to the first leave the second with a shim.
pub const SHIM_LINK: &str = "ps0";
pub const SHIM_PEER: &str = "ps1";

/// The veth from the vip namespace to the uplink in `slot`: this end, and the end in the uplink's namespace.
pub fn uplink_veth(slot: u8) -> (String, &'static str) {
    (format!("psu{slot}"), "psv")
}

/// What the card of the uplink in `slot` is called in its namespace when it is not found by its name.
pub fn card_link(slot: u8) -> String {
    format!("{CARD_LINK}{slot}")
}

const CARD_LINK: &str = "psn";

/// Whether a card of an uplink is called so, and nothing that we make.
pub fn is_card_link(name: &str) -> bool {
    name.strip_prefix(CARD_LINK).is_some_and(|slot| slot.parse().is_ok_and(|slot: u8| (1..=8).contains(&slot)))
}

/// The veth from the node's own namespace, where the card of the uplink in `slot` stays, to the uplink's: this end, and
/// the end in the uplink's namespace.
pub fn in_place_veth(slot: u8) -> (String, &'static str) {
    (format!("psh{slot}"), "psi")
}

/// The veth by which the node's own namespace, once its cards are elsewhere, reaches the world: the end there, and the end
/// in the vip namespace.
pub const HOST_VETH: (&str, &str) = ("psh0", "psh");

/// Whether an end of a veth in the node's own namespace is called so, and nothing else.
pub fn is_host_end(name: &str) -> bool {
    name == HOST_VETH.0 || (1..=8).any(|slot| name == in_place_veth(slot).0)
}

/// The segment of 802.1Q VLAN `id` on whichever trunk carries it.
pub fn vlan_link(id: u16) -> String {
    format!("psq{id}")
}

/// The edge's WireGuard interface of `slot` to the anchor with index `anchor`.
pub fn edge_tunnel(slot: u8, anchor: u8) -> String {
    format!("psw{slot}a{anchor}")
}

/// The anchor's WireGuard interface of `slot`.
pub fn anchor_tunnel(slot: u8) -> String {
    format!("psw{slot}")
}
