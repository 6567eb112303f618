//! Uplink: one WAN of a site.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::interface::Interface;
use crate::plan::CardSpec;
use crate::{Kind, Resource, ownership};

/// One WAN of a site: its card, how it gets an address, what it costs, and how much may be copied over it.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Uplink
/// metadata: {site: rv-07, name: fiber}
/// spec:
///   slot: 1
///   kind: fiber
///   interface: wan1
///   address: dhcp
///   cost: 10
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UplinkSpec {
    /// 1 to 8, unique within the site. Slot N of a site meets slot N of the anchor. Renumbering interrupts the path.
    #[schemars(range(min = 1, max = 8))]
    pub slot: u8,
    /// What carries it; used for defaults and shown in status.
    pub kind: UplinkKind,
    /// The card: its name on the node (at most 15 characters, not starting with `ps`); or `mac:` and its permanent MAC; or
    /// `bus:` and a device on the way to it as below `/sys/bus/*/devices`, such as `bus:0000:03:00.0` or `bus:1-2`. By its
    /// MAC or bus it is found again whatever it is called when it is plugged in anew.
    pub interface: String,
    /// How the interface is taken.
    #[serde(default)]
    pub attach: Attach,
    /// How it gets its address.
    #[serde(default)]
    pub address: AddressMethod,
    /// Who resolves names over this uplink, at most 3, the first to be asked first: the operator's name when the agent
    /// dials by it, and whatever people run in its namespace. Without any those that its network names, by DHCP or router
    /// advertisements; where that names none, the node's own `/etc/resolv.conf`. One that the uplink does not reach costs
    /// its sessions with the operator seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 3))]
    pub resolvers: Vec<IpAddr>,
    /// MTU of the WAN in bytes, 1,280 to 9,000; default 1,500. Tunnels are 80 less, sessions 32 less again, by the
    /// smallest uplink of a site. Too large is a black hole for big packets, too small wastes headers.
    #[serde(default = "default_mtu")]
    #[schemars(range(min = 1280, max = 9000))]
    pub mtu: u16,
    /// Over which address family the tunnels run; default IPv4 where the uplink and the anchor have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay: Option<crate::plan::Family>,
    /// How much of copies may leave by this uplink. The kernel keeps it, also while the agent is down. Originals are
    /// never limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_budget: Option<CopyBudget>,
    /// Preference: the lowest cost is the active path, equal costs go by slot. 0 to 65,535; default 100.
    #[serde(default = "default_cost")]
    pub cost: u16,
    /// Bytes cost money: over it the agent talks to the operator as rarely as it can (some 0.5 MB a day when nothing happens,
    /// else 20), and a session over it that dies in silence is noticed after 80 s instead of 10. Default: true for
    /// `cellular` and `satellite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UplinkKind {
    Fiber,
    Starlink,
    Cellular,
    Ethernet,
    Wifi,
    Satellite,
}

/// How the interface is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Attach {
    /// Moved into the uplink's namespace; given back at teardown.
    #[default]
    Move,
    /// For Wi-Fi: the radio is moved, and every interface of it with it. What joins a network (wpa_supplicant, iwd) then
    /// runs in the uplink's namespace.
    MovePhy,
    /// For cellular: the card stays where ModemManager sees it, in the node's own namespace, and is configured there by the
    /// node's own tools (`address: host`); the uplink's namespace reaches it by a veth and address translation. IPv4 alone.
    InPlace,
}

impl UplinkSpec {
    /// What faces the WAN in its namespace: its card, or the veth to the namespace where that has stayed.
    pub fn link(&self) -> String {
        match self.attach {
            Attach::InPlace => ownership::in_place_veth(self.slot).1.to_owned(),
            Attach::Move | Attach::MovePhy => self.parsed().link(self.slot),
        }
    }

    /// How its card is found and taken, where its name does not tell.
    pub fn card(&self) -> Option<CardSpec> {
        self.parsed().card(self.attach == Attach::MovePhy)
    }

    /// One that was never checked is a name like any other, and found nowhere.
    fn parsed(&self) -> Interface<'_> {
        Interface::parse(&self.interface).unwrap_or(Interface::Name(&self.interface))
    }
}

/// How an uplink gets its address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum AddressMethod {
    /// IPv4 by DHCP, with a default route from the lease; and IPv6 by whatever routers advertise: addresses of their
    /// prefixes, and DHCPv6 where they say so (flag M for addresses, O for resolvers alone).
    #[default]
    Dhcp,
    /// IPv6 only, by whatever routers advertise, as with `dhcp`.
    Slaac,
    /// As the node's own tools have configured it, with `attach: inPlace` alone.
    Host,
    /// IPv6 only, with an address by DHCPv6 even if no router says that there are any. The default route is still by
    /// router advertisement: DHCPv6 knows none.
    Dhcpv6,
    /// Fixed addresses and default gateways.
    #[serde(rename_all = "camelCase")]
    Static {
        /// The node's own addresses with prefix lengths, such as `192.0.2.10/24`; at least one.
        #[schemars(with = "Vec<String>")]
        addresses: Vec<IpNet>,
        /// Next hops of the default routes; each must lie in one of `addresses`. May be empty.
        #[schemars(with = "Vec<String>")]
        gateways: Vec<IpAddr>,
    },
}

/// A limit on copies. At least one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyBudget {
    /// Bytes a second, at least 1,000, averaged over a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Bytes a calendar month (UTC), at least 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_month: Option<u64>,
}

/// MAXNS of resolv.h: what a C library reads.
const MOST_RESOLVERS: usize = 3;

fn default_mtu() -> u16 {
    1_500
}

fn default_cost() -> u16 {
    100
}

/// What a Vlan or Anchor calls an interface: its name.
pub(crate) fn check_interface_name(path: &str, name: &str) -> Option<(String, String)> {
    match Interface::parse(name) {
        Ok(Interface::Name(_)) => None,
        Ok(_) => Some((path.into(), format!("`{name}` is not an interface name: only an Uplink's card has another"))),
        Err(why) => Some((path.into(), why)),
    }
}

impl UplinkSpec {
    /// Whether bytes cost money.
    pub fn is_metered(&self) -> bool {
        self.metered.unwrap_or(matches!(self.kind, UplinkKind::Cellular | UplinkKind::Satellite))
    }
}

impl Resource for UplinkSpec {
    const KIND: Kind = Kind::Uplink;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !(1..=8).contains(&self.slot) {
            problems.push(("slot".into(), format!("{} is out of range: slots are 1 to 8", self.slot)));
        }
        problems.extend(Interface::parse(&self.interface).err().map(|why| ("interface".into(), why)));
        if !(1_280..=9_000).contains(&self.mtu) {
            problems.push(("mtu".into(), format!("{} is out of range: 1280 to 9000", self.mtu)));
        }
        if let Some(budget) = &self.copy_budget {
            if budget.bytes_per_second.is_none() && budget.bytes_per_month.is_none() {
                problems.push(("copyBudget".into(), "name bytesPerSecond, bytesPerMonth or both".into()));
            }
            if budget.bytes_per_second.is_some_and(|bytes| bytes < 1_000) {
                problems.push(("copyBudget.bytesPerSecond".into(), "must be at least 1000".into()));
            }
            if budget.bytes_per_month.is_some_and(|bytes| bytes < 1_000_000) {
                problems.push(("copyBudget.bytesPerMonth".into(), "must be at least 1000000".into()));
            }
        }
        let stays = self.attach == Attach::InPlace;
        if stays != (self.address == AddressMethod::Host) {
            let message = "`attach: inPlace` and `address: host` belong together: the node's own tools configure a card that stays with them";
            problems.push(("address".into(), message.into()));
        }
        if stays && !matches!(Interface::parse(&self.interface), Ok(Interface::Name(_)) | Err(_)) {
            problems.push(("interface".into(), "a card that stays in place is found by its name alone".into()));
        }
        if self.resolvers.len() > MOST_RESOLVERS {
            problems.push(("resolvers".into(), format!("at most {MOST_RESOLVERS}: resolv.conf has no room for more")));
        }
        for address in &self.resolvers {
            if address.is_unspecified() || address.is_multicast() {
                problems.push(("resolvers".into(), format!("nobody answers at {address}")));
            }
        }
        if let AddressMethod::Static { addresses, gateways } = &self.address {
            if addresses.is_empty() {
                problems.push(("address.static.addresses".into(), "at least one address is needed".into()));
            }
            for gateway in gateways {
                if !addresses.iter().any(|a| a.contains(gateway)) {
                    problems.push((
                        "address.static.gateways".into(),
                        format!("{gateway} lies in none of the addresses: no route could reach it"),
                    ));
                }
            }
        }
        problems
    }
}
