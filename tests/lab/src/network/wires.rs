//! Wires: pairs of veths, hubs where somebody else is on a wire, and emulated lines to the providers.

use anyhow::Result;

use super::Network;
use super::plan::{HQ, Neighbour, SWITCHES, Uplink, WAN, WEB};
use super::provider::{EDGE_SIDE, WAN_SIDE};
use crate::emulator::{Link, Way};
use crate::host::Host;
use crate::offload;

/// What the middle of the network carries: lines and anchors may be narrower.
const CORE_MTU: u16 = 9_000;

/// A card of a host.
type Card = (&'static str, &'static str);

impl Network {
    pub(super) fn wire(&mut self) -> Result<()> {
        // A switch has no addresses, and sends nothing of its own.
        self.host(SWITCHES).sysctl(&[("net/ipv6/conf/default/disable_ipv6", "1")])?;
        let plan = self.plan;
        for site in plan.sites {
            for segment in site.segments {
                self.wire_up((segment.client, "eth0"), (site.name, segment.card), segment.mtu, None)?;
            }
        }
        for anchor in plan.anchors {
            let [beside_wan, beside_internet] = anchor.neighbours;
            self.wire_up((WAN, anchor.port), (anchor.name, "wan0"), anchor.mtu, beside_wan)?;
            self.wire_up((anchor.server, "eth0"), (anchor.name, "inet0"), anchor.mtu, beside_internet)?;
        }
        self.wire_up((WAN, "hq0"), (HQ, "wan0"), 1_500, None)?;
        self.wire_up((WAN, "web0"), (WEB, "eth0"), CORE_MTU, None)?;
        for site in plan.sites {
            for uplink in site.uplinks {
                self.wire_up((WAN, uplink.router), (uplink.router, WAN_SIDE), CORE_MTU, None)?;
                let link = self.line((site.name, uplink.card), uplink)?;
                self.links.insert(uplink.router, link);
            }
        }
        Ok(())
    }

    /// A wire between two cards, the first of them on a host that is no node.
    fn wire_up(&self, near: Card, far: Card, mtu: u16, neighbour: Option<Neighbour>) -> Result<()> {
        if let Some(neighbour) = neighbour {
            let hub = Hub::make(self.host(SWITCHES), far.1)?;
            hub.plug(near, mtu)?;
            hub.plug(far, mtu)?;
            return hub.plug_neighbour(neighbour);
        }
        // Made from the end that sees the names of all namespaces: a node does not.
        veth(self.host(near.0), near.1, mtu, far, mtu)
    }

    /// The emulated line from `card` to the provider of `uplink`.
    fn line(&self, card: Card, uplink: &Uplink) -> Result<Link> {
        let router = self.host(uplink.router);
        let start = |far: &Host, interface: &str| {
            let link = Link::start(
                (&self.host(card.0).net, card.1),
                (&far.net, interface),
                uplink.profile(Way::Up),
                uplink.profile(Way::Down),
            )?;
            link.set_mtu(uplink.mtu)?;
            Ok(link)
        };
        let Some(neighbour) = uplink.neighbour else { return start(router, EDGE_SIDE) };
        let hub = Hub::make(self.host(SWITCHES), uplink.router)?;
        let port = format!("{}-line", uplink.router);
        let link = start(hub.switches, &port)?;
        hub.admit(&port)?;
        hub.plug((uplink.router, EDGE_SIDE), uplink.mtu)?;
        // What leaves here is packets as they are on a line, as at a provider without a hub.
        router.net.run(|| offload::complete_frames(EDGE_SIDE))?;
        hub.plug_neighbour(neighbour)?;
        Ok(link)
    }
}

/// A bridge that learns nothing, so that every card on it gets every frame.
struct Hub<'a> {
    switches: &'a Host,
    name: &'a str,
}

impl<'a> Hub<'a> {
    fn make(switches: &'a Host, name: &'a str) -> Result<Hub<'a>> {
        switches.ip(&format!(
            "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0
             link set {name} up"
        ))?;
        Ok(Hub { switches, name })
    }

    /// A cable from the hub to `card`.
    fn plug(&self, card: Card, mtu: u16) -> Result<()> {
        let port = format!("{}-{}", self.name, card.0);
        veth(self.switches, &port, CORE_MTU, card, mtu)?;
        self.admit(&port)
    }

    fn plug_neighbour(&self, neighbour: Neighbour) -> Result<()> {
        self.plug((neighbour.host, neighbour.card), CORE_MTU)?;
        // Whoever listens on a cable gets whole frames, with their checksums: only then can they be sent once more.
        let port = format!("{}-{}", self.name, neighbour.host);
        self.switches.net.run(|| offload::complete_frames(&port))
    }

    fn admit(&self, port: &str) -> Result<()> {
        self.switches.ip(&format!(
            "link set {port} master {} up
             link set {port} type bridge_slave learning off",
            self.name
        ))
    }
}

/// A pair of veths from `name` on `host` to `card`.
fn veth(host: &Host, name: &str, mtu: u16, card: Card, card_mtu: u16) -> Result<()> {
    let (peer_host, peer) = card;
    host.ip(&format!("link add {name} mtu {mtu} type veth peer name {peer} mtu {card_mtu} netns {peer_host}"))
}
