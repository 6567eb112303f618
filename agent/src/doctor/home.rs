//! The node's own namespace, and ours, as far as clashes show in them.

use std::{collections::BTreeMap, io, process::Command};

use ipnet::IpNet;
use pathsteer_crds::{ownership::HOST, plan::CardSpec};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkMessage},
    route::{RouteAttribute, RouteMessage},
    rule::RuleMessage,
};
use serde_json::Value;

use crate::{
    drivers::{Kernel, card},
    sys::{
        KernelError,
        netlink::{Netlink, name_of},
    },
};
use pathsteer_wireguard::BackendKind;

/// What was seen.
pub struct Home {
    pub places: Vec<Place>,
    /// Objects of the node's own nft tables as `nft -j` lists them; none without nft.
    pub nft: Vec<Value>,
}

/// One namespace.
pub struct Place {
    /// Empty is the node's own.
    pub netns: String,
    pub links: Vec<Link>,
    /// Networks by the name of the link that has an address there; no link-local ones.
    pub networks: Vec<(String, IpNet)>,
    /// By family.
    pub rules: Vec<(AddressFamily, RuleMessage)>,
    /// How much each table leads somewhere, by family and number.
    pub reach: BTreeMap<(u8, u32), Reach>,
    /// Names of links with an IPv4 default route, sorted.
    pub defaults: Vec<String>,
}

/// A network interface.
pub struct Link {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub identity: CardSpec,
    /// Nothing that stands on another one and has its MAC.
    pub is_hardware: bool,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
}

/// What a table leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Some,
    Everything,
}

impl Home {
    /// # Errors
    /// What the kernel says.
    pub async fn look() -> Result<Home, KernelError> {
        let kernel = Kernel::open(BackendKind::Userspace)?;
        let mut places = vec![Place::look(HOST, kernel.netlink(HOST)?).await?];
        for (name, netlink) in kernel.owned() {
            places.push(Place::look(name, netlink).await?);
        }
        let nft = kernel.netlink(HOST)?.netns.run(ruleset).unwrap_or_default();
        Ok(Home { places, nft })
    }

    /// The node's own namespace.
    pub fn own(&self) -> &Place {
        &self.places[0]
    }
}

fn ruleset() -> io::Result<Vec<Value>> {
    let output = Command::new("nft").args(["-j", "list", "ruleset"]).output()?;
    let mut listed: Value = serde_json::from_slice(&output.stdout)?;
    Ok(listed["nftables"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

impl Place {
    async fn look(netns: &str, netlink: &Netlink) -> Result<Place, KernelError> {
        let (messages, names) = (netlink.links().await?, netlink.link_names().await?);
        let links = messages.iter().map(|message| link_of(message, &names)).collect();
        let mut place = Place {
            netns: netns.to_owned(),
            links,
            networks: Vec::new(),
            rules: Vec::new(),
            reach: BTreeMap::new(),
            defaults: Vec::new(),
        };
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for object in netlink.dump("addr list", addresses).await? {
            let RouteNetlinkMessage::NewAddress(message) = object else { continue };
            if let (Some(network), Some(name)) = (network_of(&message), names.get(&message.header.index)) {
                place.networks.push((name.clone(), network));
            }
        }
        place.networks.sort();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut rules = RuleMessage::default();
            rules.header.family = family;
            for object in netlink.dump("rule list", RouteNetlinkMessage::GetRule(rules)).await? {
                if let RouteNetlinkMessage::NewRule(rule) = object {
                    place.rules.push((family, rule));
                }
            }
            let mut routes = RouteMessage::default();
            routes.header.address_family = family;
            for object in netlink.dump("route list", RouteNetlinkMessage::GetRoute(routes)).await? {
                if let RouteNetlinkMessage::NewRoute(route) = object {
                    place.add(&route, &names);
                }
            }
        }
        place.defaults.sort();
        place.defaults.dedup();
        Ok(place)
    }

    fn add(&mut self, route: &RouteMessage, names: &BTreeMap<u32, String>) {
        let (mut table, mut out) = (u32::from(route.header.table), None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Table(id) => table = *id,
                RouteAttribute::Oif(index) => out = names.get(index),
                _ => {}
            }
        }
        let is_default = route.header.destination_prefix_length == 0;
        let reach = if is_default { Reach::Everything } else { Reach::Some };
        let family = route.header.address_family;
        let known = self.reach.entry((family.into(), table)).or_insert(reach);
        *known = reach.max(*known);
        if is_default && family == AddressFamily::Inet {
            self.defaults.extend(out.cloned());
        }
    }

    /// The link called `name`.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

fn link_of(message: &LinkMessage, names: &BTreeMap<u32, String>) -> Link {
    let identity = card::identity(message);
    let master = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => names.get(index).cloned(),
        _ => None,
    });
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => Some(crate::drivers::link_message::format_mac(mac)),
        _ => None,
    });
    Link {
        name: name_of(message).unwrap_or_default().to_owned(),
        index: message.header.index,
        mac,
        identity,
        is_hardware: card::is_hardware(message),
        master,
    }
}

fn network_of(message: &AddressMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    let link_local = match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let network = IpNet::new(address, message.header.prefix_len).ok()?.trunc();
    (!link_local && !address.is_loopback()).then_some(network)
}
