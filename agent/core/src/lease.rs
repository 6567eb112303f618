//! What networks lend an uplink for a time: addresses, a way out, resolvers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use pathsteer_crds::plan::{DhcpSpec, NodePlan};
use serde::{Deserialize, Serialize};

/// Who lends. What is asked for by DHCP counts before what routers advertise (RFC 8106, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lender {
    Dhcpv4,
    Dhcpv6,
    /// Router advertisements. Their addresses and routes are the kernel's own.
    Router,
}

/// What one of them lent an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The address with the prefix length of its network.
    pub address: Option<IpNet>,
    /// Next hop of the default route; without it the uplink reaches its own network only.
    pub gateway: Option<IpAddr>,
    /// Who resolves names there, the first to be asked first.
    pub resolvers: Vec<IpAddr>,
    /// Where the network wants people to agree to something first (RFC 8910).
    pub captive_portal: Option<String>,
    /// From then on it holds no more: time since the machine booted, which no change of the clock moves.
    pub expires: Duration,
}

/// All leases of a node, by slot.
pub type Leases = BTreeMap<(u8, Lender), Lease>;

/// Those that `dhcp` asks for, by lender. Others may have been lent when the plan was another.
pub fn asked_for<'a>(dhcp: &DhcpSpec, leases: &'a Leases) -> impl Iterator<Item = (Lender, &'a Lease)> {
    let (slot, ipv4) = (dhcp.slot, dhcp.ipv4);
    let of_slot = leases.range((slot, Lender::Dhcpv4)..=(slot, Lender::Router));
    let asked = of_slot.filter(move |((_, lender), _)| ipv4 || *lender != Lender::Dhcpv4);
    asked.map(|((_, lender), lease)| (*lender, lease))
}

/// Who resolves names on an uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// Where link-local ones are.
    pub link: String,
    /// The first to be asked first.
    pub addresses: Vec<IpAddr>,
}

/// By the namespace of the uplink, who resolves names there: those that the plan declares, else those that the network
/// has lent. An uplink without any is left out.
pub fn resolvers(plan: &NodePlan, leases: &Leases) -> BTreeMap<String, Resolvers> {
    let mut all = BTreeMap::new();
    for path in &plan.objects.paths {
        let dhcp = plan.objects.dhcp.iter().find(|dhcp| dhcp.slot == path.slot);
        let lent = dhcp.into_iter().flat_map(|dhcp| asked_for(dhcp, leases));
        let lent = lent.flat_map(|(_, lease)| &lease.resolvers).copied();
        let mut addresses: Vec<IpAddr> =
            if path.resolvers.is_empty() { lent.collect() } else { path.resolvers.clone() };
        let mut seen = BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        if !addresses.is_empty() {
            let link = dhcp.map(|dhcp| dhcp.link.clone()).unwrap_or_default();
            all.insert(path.netns.clone(), Resolvers { link, addresses });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap_plan;

    fn lent(resolvers: &[&str]) -> Lease {
        let resolvers = resolvers.iter().map(|one| one.parse().unwrap()).collect();
        Lease { address: None, gateway: None, resolvers, captive_portal: None, expires: Duration::MAX }
    }

    #[test]
    fn an_uplink_asks_whom_its_networks_name_dhcp_before_routers_and_each_once() {
        let plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned()), (2, "wan2".to_owned())]));
        let leases = Leases::from([
            ((1, Lender::Router), lent(&["fe80::1", "192.0.2.1"])),
            ((1, Lender::Dhcpv4), lent(&["192.0.2.1", "192.0.2.2"])),
            ((3, Lender::Dhcpv4), lent(&["192.0.2.3"])),
        ]);
        let addresses = ["192.0.2.1", "192.0.2.2", "fe80::1"].map(|one| one.parse().unwrap()).to_vec();
        let expected = BTreeMap::from([("psup1".to_owned(), Resolvers { link: "wan1".into(), addresses })]);
        assert_eq!(resolvers(&plan, &leases), expected);
    }

    #[test]
    fn what_an_earlier_plan_has_asked_for_counts_no_more() {
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())]));
        let leases =
            Leases::from([((1, Lender::Dhcpv4), lent(&["192.0.2.1"])), ((1, Lender::Router), lent(&["fe80::1"]))]);
        plan.objects.dhcp[0].ipv4 = false;
        assert_eq!(resolvers(&plan, &leases)["psup1"].addresses, ["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn declared_resolvers_take_the_place_of_those_that_a_network_names() {
        let mut plan = bootstrap_plan("rv-07", &BTreeMap::from([(1, "wan1".to_owned())]));
        plan.objects.paths[0].resolvers = vec!["9.9.9.9".parse().unwrap()];
        let leases = Leases::from([((1, Lender::Dhcpv4), lent(&["192.0.2.1"]))]);
        assert_eq!(resolvers(&plan, &leases)["psup1"].addresses, plan.objects.paths[0].resolvers);
        plan.objects.dhcp.clear();
        assert_eq!(resolvers(&plan, &Leases::new())["psup1"].addresses, plan.objects.paths[0].resolvers);
    }
}
