//! The lab's network: hosts, the lines between them, and the providers' services.
//!
//! ```text
//!  lan ────┐       ══ fiber ══o═ ┐            ┌── hq       ══ an emulated line
//!  media ── rv-07  ══ starlink ══ wan ──o── dal-a ──o── internet    o a hub, with somebody else on it
//!  guest ──┘       ══ cellular ══ ┘  └── web
//! ```

mod addresses;
pub mod dhcp;
mod dish;
pub mod plan;
pub mod provider;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::emulator::Link;
use crate::host::Host;
use dish::Dish;
use plan::{DISH, HQ, Plan, SWITCHES, WAN, WEB};
use provider::EDGE_SIDE;

/// The running network.
pub struct Network {
    /// Held so that their logs can be shown, and because dropping one ends it: before its interfaces go.
    pub services: Vec<Daemon>,
    _dishes: Vec<Dish>,
    plan: &'static Plan,
    hosts: BTreeMap<&'static str, Host>,
    links: BTreeMap<&'static str, Link>,
}

impl Network {
    /// Builds what `plan` says. To be called inside the sandbox, whose `/run` it uses; logs go to `logs`.
    ///
    /// # Errors
    /// When the kernel or a tool refuses a step.
    pub fn build(plan: &'static Plan, logs: &Path) -> Result<Network> {
        let mut hosts = BTreeMap::new();
        for name in plan.nodes().chain([HQ]) {
            hosts.insert(name, Host::node(name)?);
        }
        let mut others = BTreeSet::from([WAN, WEB, SWITCHES]);
        others.extend(plan.segments().map(|segment| segment.client));
        others.extend(plan.anchors.iter().map(|anchor| anchor.server));
        others.extend(plan.uplinks().map(|uplink| uplink.router));
        others.extend(plan.neighbours().map(|neighbour| neighbour.host));
        others.extend(plan.uplinks().filter_map(|uplink| uplink.dish.map(|_| DISH)));
        for name in others {
            hosts.insert(name, Host::new(name)?);
        }
        for host in hosts.values() {
            host.publish()?;
        }
        let mut network = Network { services: Vec::new(), _dishes: Vec::new(), plan, hosts, links: BTreeMap::new() };
        network.wire()?;
        for uplink in plan.uplinks() {
            let daemon = provider::start(network.host(uplink.router), uplink, logs)?;
            network.services.push(daemon);
            if let Some(address) = uplink.dish {
                network._dishes.push(Dish::start(network.host(DISH), network.host(uplink.router), address)?);
            }
        }
        network.address()?;
        Ok(network)
    }

    /// What it was built from.
    pub fn plan(&self) -> &'static Plan {
        self.plan
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

    /// The emulated line to the provider's router `name`.
    ///
    /// # Errors
    /// When there is no such router.
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

    /// Sets the MTU of the line to the router `name`, 1,280 to 9,000 bytes, at both of its ends.
    ///
    /// # Errors
    /// When there is no such line or the kernel refuses.
    pub fn set_line_mtu(&self, name: &str, mtu: u16) -> Result<()> {
        self.link(name)?.set_mtu(mtu)?;
        self.host(name).ip(&format!("link set {EDGE_SIDE} mtu {mtu}"))
    }

    /// Sets the MTU of the network that carries the endpoints of the anchor `name`, 1,280 to 9,000 bytes.
    ///
    /// # Errors
    /// When there is no such anchor or the kernel refuses.
    pub fn set_anchor_mtu(&self, name: &str, mtu: u16) -> Result<()> {
        let anchor = self.plan.anchors.iter().find(|anchor| anchor.name == name);
        let port = anchor.with_context(|| format!("the lab has no anchor `{name}`"))?.port;
        self.host(WAN).ip(&format!("link set {port} mtu {mtu}"))?;
        self.host(name).ip(&format!("link set wan0 mtu {mtu}"))
    }
}
