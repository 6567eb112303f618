//! Site: an edge and the prefixes behind it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource};

/// An edge: the anchors it uses, its own addresses, and the networks behind it.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Site
/// metadata: {name: rv-07}
/// spec:
///   anchors: [dal-a]
///   vips: [198.18.7.1]
///   prefixes: [172.16.7.0/24, "fd07::/64"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteSpec {
    /// Anchors in order of preference, 1 to 15.
    pub anchors: Vec<String>,
    /// Single addresses that live on the node itself; the node answers with them (ICMP errors, traceroute).
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub vips: Vec<std::net::IpAddr>,
    /// Networks behind this site that the fabric carries to it; sources outside them (and the VIPs) are refused by
    /// the anchor.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub prefixes: Vec<IpNet>,
    /// A change of the site's uplinks that leaves the node without its operator for so many seconds is taken back by the
    /// node itself: 30 to 3,600, default 120. Too short, and a slow modem's start looks like a mistake; too long, and a
    /// mistake keeps the node away for that time. 0 switches it off: the node then does whatever it is told.
    #[serde(default = "default_dead_man")]
    pub dead_man_seconds: u32,
    /// TCP ports at which the node's own services, such as SSH, are reached from every segment but guests': at the
    /// segment's own addresses. At most 16, default 22; an empty list keeps everybody out. What listens at these ports on
    /// the VIPs is not touched.
    #[serde(default = "default_management_ports")]
    pub management_ports: Vec<u16>,
}

fn default_management_ports() -> Vec<u16> {
    vec![22]
}

fn default_dead_man() -> u32 {
    120
}

impl SiteSpec {
    /// Every prefix that belongs to this site: `prefixes` and each VIP as a host prefix, sorted, without doubles.
    pub fn all_prefixes(&self) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.prefixes.iter().map(IpNet::trunc).collect();
        all.extend(self.vips.iter().map(|vip| IpNet::from(*vip)));
        all.sort();
        all.dedup();
        all
    }
}

impl Resource for SiteSpec {
    const KIND: Kind = Kind::Site;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !(1..=15).contains(&self.anchors.len()) {
            problems.push(("anchors".into(), "name 1 to 15 anchors, the preferred first".into()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for anchor in &self.anchors {
            if !seen.insert(anchor) {
                problems.push(("anchors".into(), format!("`{anchor}` is named twice: remove one")));
            }
        }
        if self.dead_man_seconds != 0 && !(30..=3_600).contains(&self.dead_man_seconds) {
            let message = format!("{} is out of range: 30 to 3600, or 0 for never", self.dead_man_seconds);
            problems.push(("deadManSeconds".into(), message));
        }
        if self.management_ports.len() > 16 || self.management_ports.contains(&0) {
            problems.push(("managementPorts".into(), "name at most 16 ports, from 1 to 65535".into()));
        }
        if self.prefixes.is_empty() && self.vips.is_empty() {
            problems
                .push(("prefixes".into(), "a site needs at least one prefix or VIP, or nothing could reach it".into()));
        }
        for prefix in &self.prefixes {
            if prefix.trunc() != *prefix {
                problems.push(("prefixes".into(), format!("`{prefix}` has host bits set: write {}", prefix.trunc())));
            }
            if prefix.prefix_len() == 0 {
                problems
                    .push(("prefixes".into(), format!("`{prefix}` is everything: name the networks behind this site")));
            }
        }
        problems
    }
}
