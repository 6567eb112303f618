//! What a network consists of, as data: sites with their uplinks and segments, and anchors with what lies behind them.

mod many;
mod van;

pub use many::{CHI_A, CHI_SERVER, CHI_SERVER6, CLINIC_3, MANY, YACHT_2};
pub use van::*;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::emulator::{Profile, Way};

/// A network. Beside what is named here it has `wan`, `hq`, `web` and `switches`.
#[derive(Debug)]
pub struct Plan {
    /// Folder of the manifests that match it.
    pub examples: &'static str,
    pub sites: &'static [Site],
    pub anchors: &'static [Anchor],
}

/// An edge, what is behind it and what is in front of it.
#[derive(Debug)]
pub struct Site {
    pub name: &'static str,
    pub segments: &'static [Segment],
    pub uplinks: &'static [Uplink],
}

/// One network behind an edge, with a client in it.
#[derive(Debug)]
pub struct Segment {
    /// The client's host; its card is `eth0`.
    pub client: &'static str,
    /// The edge's network card.
    pub card: &'static str,
    /// The client's addresses, in a /24 and a /64 in which the edge is `.1` and `::1`.
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// Of the wire, in bytes.
    pub mtu: u16,
}

/// One uplink of an edge, and the provider behind it.
#[derive(Debug)]
pub struct Uplink {
    pub slot: u8,
    /// Name of the Uplink object.
    pub name: &'static str,
    /// The provider's router, which is also the name of the line. At the van it is called like the uplink.
    pub router: &'static str,
    /// The edge's network card.
    pub card: &'static str,
    /// Of the line, in bytes: at both of its ends.
    pub mtu: u16,
    /// 1 to 31, unique in the network: what the provider's public addresses are made of.
    pub number: u8,
    /// The first three bytes of the /24 between the edge and the provider's router, which is `.1` in it.
    pub private: &'static str,
    /// One way; the round trip is twice this.
    delay: Duration,
    jitter: Duration,
    up_bps: u64,
    down_bps: u64,
    /// Somebody else on the same wire, which then is a hub.
    pub neighbour: Option<Neighbour>,
    /// A device at the provider's side that its customers can reach, by its address.
    pub dish: Option<Ipv4Addr>,
}

/// An anchor, the server behind it, and its place in the WAN.
#[derive(Debug)]
pub struct Anchor {
    pub name: &'static str,
    /// Where sites reach it, on its card `wan0`: in a /27 and a /64 in which `wan` is the first address.
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// The card of `wan` towards it.
    pub port: &'static str,
    /// Of its `wan0` and `inet0`, in bytes.
    pub mtu: u16,
    /// The host behind its card `inet0`, with addresses in a /24 and a /64 in which the anchor is `.1` and `::1`.
    pub server: &'static str,
    pub server_v4: Ipv4Addr,
    pub server_v6: Ipv6Addr,
    /// Others on the wires of `wan0` and of `inet0`, which then are hubs.
    pub neighbours: [Option<Neighbour>; 2],
}

/// A machine that is on a wire where it does not belong: it sees every frame there and can send any.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    pub host: &'static str,
    pub card: &'static str,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Plan {
    /// # Panics
    /// When there is none: the names are constants.
    pub fn site(&self, name: &str) -> &'static Site {
        self.sites.iter().find(|site| site.name == name).unwrap_or_else(|| panic!("the lab has no site `{name}`"))
    }

    pub fn uplinks(&self) -> impl Iterator<Item = &'static Uplink> {
        self.sites.iter().flat_map(|site| site.uplinks)
    }

    pub fn segments(&self) -> impl Iterator<Item = &'static Segment> {
        self.sites.iter().flat_map(|site| site.segments)
    }

    /// Every neighbour there is; a host may be one of several wires.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        let at_lines = self.uplinks().filter_map(|uplink| uplink.neighbour);
        at_lines.chain(self.anchors.iter().flat_map(|anchor| anchor.neighbours.into_iter().flatten()))
    }

    /// The van's network, or that of many sites.
    pub fn choose(many: bool) -> &'static Plan {
        if many { &MANY } else { &VAN }
    }

    /// Hosts that run our programs, edges first.
    pub fn nodes(&self) -> impl Iterator<Item = &'static str> {
        self.sites.iter().map(|site| site.name).chain(self.anchors.iter().map(|anchor| anchor.name))
    }
}

impl Site {
    /// The uplink in `slot`.
    pub fn uplink_in(&self, slot: u8) -> Option<&'static Uplink> {
        self.uplinks.iter().find(|uplink| uplink.slot == slot)
    }

    /// The uplink named `name`.
    pub fn uplink(&self, name: &str) -> Option<&'static Uplink> {
        self.uplinks.iter().find(|uplink| uplink.name == name)
    }
}

impl Uplink {
    /// The provider's router, as the edge sees it.
    pub fn gateway(&self) -> String {
        format!("{}.1", self.private)
    }

    /// The provider's public address, and the WAN's end of that /30.
    pub fn public(&self) -> [Ipv4Addr; 2] {
        let first = 128 + 4 * self.number;
        [Ipv4Addr::new(203, 0, 113, first + 1), Ipv4Addr::new(203, 0, 113, first + 2)]
    }

    /// The /64 in which the edge gives itself an address by the router's advertisements; the router is `::1` in it.
    pub fn prefix6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xf00 + u16::from(self.number), 0, 0, 0, 0, 0)
    }

    /// The /64 between the provider's router, `::2`, and the WAN, `::1`.
    pub fn transit6(&self, end: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xfff, u16::from(self.number), 0, 0, 0, end)
    }

    /// What the line does one way. The queue holds 1,000 packets, as a Linux network card does by default.
    pub fn profile(&self, way: Way) -> Profile {
        let rate_bps = match way {
            Way::Up => self.up_bps,
            Way::Down => self.down_bps,
        };
        Profile { jitter: self.jitter, rate_bps, ..Profile::delay(self.delay) }
    }
}

/// The first address of the subnet of `address` with prefix length `length`: everywhere in the lab the router's.
pub fn first_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits((v4.to_bits() & (u32::MAX << (32 - length))) + 1).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits((v6.to_bits() & (u128::MAX << (128 - length))) + 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_address_of_a_subnet_is_its_routers() {
        assert_eq!(first_of("203.0.113.42".parse().unwrap(), 27).to_string(), "203.0.113.33");
        assert_eq!(first_of("2001:db8:7::2".parse().unwrap(), 64).to_string(), "2001:db8:7::1");
    }

    #[test]
    fn names_and_numbers_are_unique_and_fit_the_kernel() {
        for plan in [&VAN, &MANY] {
            let numbers: BTreeSet<u8> = plan.uplinks().map(|uplink| uplink.number).collect();
            assert_eq!(numbers.len(), plan.uplinks().count());
            let routers: BTreeSet<&str> = plan.uplinks().map(|uplink| uplink.router).collect();
            assert_eq!(routers.len(), plan.uplinks().count());
            let longest = routers.iter().map(|router| router.len()).max();
            assert!(longest <= Some(13), "a port of the WAN or of a switch is named after it: {routers:?}");
            let clients: BTreeSet<&str> = plan.segments().map(|segment| segment.client).collect();
            assert_eq!(clients.len(), plan.segments().count());
        }
    }
}
