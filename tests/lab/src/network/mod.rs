//! The lab's network: hosts, the lines between them, and the providers' services.
//!
//! ```text
//!  lan ── rv-07 ══ fiber ════ wan ── dal-a ── internet          ══ an emulated line
//!               ══ starlink ══ │
//!               ══ cellular ══ hq
//! ```

pub mod dhcp;
pub mod plan;
pub mod provider;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::emulator::{Link, Way};
use crate::host::Host;
use plan::{ANCHOR, ANCHOR_HOST, CLIENT, EDGE, HQ, INTERNET, LAN, OPERATOR, SERVER, UPLINKS, WAN};
use provider::{EDGE_SIDE, WAN_SIDE};

/// The running network.
pub struct Network {
    /// Held so that their logs can be shown, and because dropping one ends it: before its interfaces go.
    pub services: Vec<Daemon>,
    hosts: BTreeMap<&'static str, Host>,
    links: BTreeMap<&'static str, Link>,
}

impl Network {
    /// Builds everything. To be called inside the sandbox, whose `/run` it uses; logs go to `logs`.
    ///
    /// # Errors
    /// When the kernel or a tool refuses a step.
    pub fn build(logs: &Path) -> Result<Network> {
        let mut hosts = BTreeMap::new();
        for name in [EDGE, ANCHOR_HOST, HQ] {
            hosts.insert(name, Host::node(name)?);
        }
        for name in [LAN, WAN, INTERNET].into_iter().chain(UPLINKS.iter().map(|uplink| uplink.name)) {
            hosts.insert(name, Host::new(name)?);
        }
        for host in hosts.values() {
            host.publish()?;
        }
        let mut network = Network { hosts, links: BTreeMap::new(), services: Vec::new() };
        network.wire()?;
        for uplink in &UPLINKS {
            let daemon = provider::start(network.host(uplink.name), uplink, logs)?;
            network.services.push(daemon);
        }
        network.address()?;
        Ok(network)
    }

    /// The host `name` of [`plan`].
    ///
    /// # Panics
    /// When there is none: the names are constants.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("the lab has no host `{name}`"))
    }

    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The emulated line of the uplink `name`.
    ///
    /// # Errors
    /// When there is no such uplink.
    pub fn link(&self, name: &str) -> Result<&Link> {
        self.links.get(name).with_context(|| {
            format!(
                "there is no uplink `{name}`: it is one of {}",
                self.links.keys().copied().collect::<Vec<_>>().join(", ")
            )
        })
    }

    pub fn links(&self) -> impl Iterator<Item = (&'static str, &Link)> {
        self.links.iter().map(|(name, link)| (*name, link))
    }

    /// Cables: pairs of veths, and emulated lines to the providers.
    fn wire(&mut self) -> Result<()> {
        // Made from the end that sees the names of all namespaces: a node does not.
        let mut pairs = vec![
            ((LAN, "eth0"), (EDGE, "lan0")),
            ((WAN, "dal0"), (ANCHOR_HOST, "wan0")),
            ((INTERNET, "eth0"), (ANCHOR_HOST, "inet0")),
            ((WAN, "hq0"), (HQ, "wan0")),
        ];
        pairs.extend(UPLINKS.iter().map(|uplink| ((WAN, uplink.name), (uplink.name, WAN_SIDE))));
        for ((host, name), (peer_host, peer)) in pairs {
            self.host(host).ip(&format!("link add {name} type veth peer name {peer} netns {peer_host}"))?;
        }
        for uplink in &UPLINKS {
            let link = Link::start(
                (&self.host(EDGE).net, uplink.card),
                (&self.host(uplink.name).net, EDGE_SIDE),
                uplink.profile(Way::Up),
                uplink.profile(Way::Down),
            )?;
            self.links.insert(uplink.name, link);
        }
        Ok(())
    }

    /// Addresses and routes of every host that is not ours to configure by a plan. The edge's cards and the anchor's
    /// `inet0` stay bare: the agents take them.
    fn address(&self) -> Result<()> {
        self.host(LAN).ip(&format!(
            "address add {CLIENT}/24 dev eth0
             address add 2001:db8:7::2/64 dev eth0 nodad
             link set eth0 up
             route add default via 172.16.7.1
             route add default via 2001:db8:7::1"
        ))?;
        self.host(INTERNET).ip(&format!(
            "address add {SERVER}/24 dev eth0
             address add 2001:db8:51::2/64 dev eth0 nodad
             link set eth0 up
             route add default via 198.51.100.1
             route add default via 2001:db8:51::1"
        ))?;
        self.host(ANCHOR_HOST).ip(&format!(
            "address add {ANCHOR}/25 dev wan0
             link set wan0 up
             route add default via 203.0.113.1"
        ))?;
        self.host(HQ).ip(&format!(
            "address add {OPERATOR}/24 dev wan0
             link set wan0 up
             route add default via 192.0.2.1"
        ))?;
        let wan = self.host(WAN);
        wan.forward()?;
        wan.ip("address add 203.0.113.1/25 dev dal0
             link set dal0 up
             address add 192.0.2.1/24 dev hq0
             link set hq0 up")?;
        for uplink in &UPLINKS {
            let (gateway, card) = (uplink.public_gateway, uplink.name);
            wan.ip(&format!("address add {gateway}/30 dev {card}\nlink set {card} up"))?;
        }
        Ok(())
    }
}
