//! Addresses and routes of every host that is not ours to configure by a plan. The edges' cards and the anchors' `inet0`
//! stay bare: the agents take them.

use std::net::IpAddr;

use anyhow::Result;

use super::Network;
use super::plan::{HQ, Neighbour, OPERATOR, OPERATOR6, WAN, WEB, WEB_SERVER, WEB_SERVER6, first_of};
use crate::host::Host;

/// An address of each family with its prefix length.
type Both = [(IpAddr, u8); 2];

impl Network {
    pub(super) fn address(&self) -> Result<()> {
        let plan = self.plan;
        for segment in plan.segments() {
            let both = [(segment.v4.into(), 24), (segment.v6.into(), 64)];
            settle(self.host(segment.client), "eth0", both, true)?;
        }
        let wan = self.host(WAN);
        wan.forward()?;
        for anchor in plan.anchors {
            let inside = [(anchor.server_v4.into(), 24), (anchor.server_v6.into(), 64)];
            settle(self.host(anchor.server), "eth0", inside, true)?;
            self.beside_wan((anchor.name, "wan0"), anchor.port, [(anchor.v4.into(), 27), (anchor.v6.into(), 64)])?;
            for (neighbour, length) in anchor.neighbours.into_iter().zip([27, 24]) {
                self.settle_neighbour(neighbour, length)?;
            }
        }
        self.beside_wan((HQ, "wan0"), "hq0", [(OPERATOR.into(), 24), (OPERATOR6.into(), 64)])?;
        self.beside_wan((WEB, "eth0"), "web0", [(WEB_SERVER.into(), 27), (WEB_SERVER6.into(), 64)])?;
        for uplink in plan.uplinks() {
            let [_, gateway] = uplink.public();
            let port = uplink.router;
            settle(wan, port, [(gateway.into(), 30), (uplink.transit6(1).into(), 64)], false)?;
            // The customers' own addresses: nothing is translated in IPv6.
            wan.ip(&format!("route add {}/64 via {}", uplink.prefix6(), uplink.transit6(2)))?;
            self.settle_neighbour(uplink.neighbour, 24)?;
        }
        Ok(())
    }

    /// Addresses of `card`, and of the port of `wan` that is its router.
    fn beside_wan(&self, (host, card): (&str, &str), port: &str, both: Both) -> Result<()> {
        settle(self.host(host), card, both, true)?;
        settle(self.host(WAN), port, both.map(|(address, length)| (first_of(address, length), length)), false)
    }

    fn settle_neighbour(&self, neighbour: Option<Neighbour>, length: u8) -> Result<()> {
        let Some(Neighbour { host, card, v4, v6 }) = neighbour else { return Ok(()) };
        settle(self.host(host), card, [(v4.into(), length), (v6.into(), 64)], false)
    }
}

/// Gives `card` of `host` its addresses, and, for a host at the end of a wire, default routes by its routers.
fn settle(host: &Host, card: &str, both: Both, default_routes: bool) -> Result<()> {
    let mut batch = format!("link set {card} up\n");
    for (address, length) in both {
        let nodad = if address.is_ipv6() { "nodad" } else { "" };
        batch.push_str(&format!("address add {address}/{length} dev {card} {nodad}\n"));
        if default_routes {
            batch.push_str(&format!("route add default via {}\n", first_of(address, length)));
        }
    }
    host.ip(&batch)
}
