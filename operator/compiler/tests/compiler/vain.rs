//! Policies in vain: whatever the policies, those that decide about no packet are named, and no others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pathsteer_compiler::{Reason, compile};
use pathsteer_crds::Treatment;
use proptest::collection::btree_map;
use proptest::prelude::*;

use crate::policies::{Packet, holds, in_order, matches, two_sites};
use crate::random;

/// One packet for every way in which those of [`random::policy`] tell packets apart.
fn every_sort_of_packet() -> Vec<Packet> {
    let remotes = ["203.0.113.1", "203.0.113.129", "192.0.2.9", "192.0.2.10", "2001:db8:9::1", "2001:db8:a::1"];
    // Of the profiles one port in each range and the gaps between; of the others each.
    let profiles = [3_074, 3_075, 3_077, 3_478, 5_000, 5_060, 5_061, 9_999, 10_000, 25_000, 27_000, 65_535];
    let ports: Vec<u16> = (1..=52).chain(profiles).collect();
    let mut packets = Vec::new();
    for remote in remotes.map(|remote| remote.parse::<IpAddr>().unwrap()) {
        for protocol in [6, 17, if remote.is_ipv6() { 58 } else { 1 }, 132] {
            for dscp in [0, 10, 46] {
                let ported = matches!(protocol, 6 | 17);
                let ports = ports.iter().take(if ported { ports.len() } else { 1 });
                packets.extend(ports.map(|port| Packet { remote, local: remote, protocol, port: *port, dscp }));
            }
        }
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_is_said_to_be_in_vain_exactly_if_it_decides_about_no_packet(
        policies in btree_map("[a-h]", random::policy(), 0..=8),
    ) {
        let packets = every_sort_of_packet();
        let mut of_use: BTreeSet<&String> = BTreeSet::new();
        // Site, and whether its flows may go straight to the internet: of the second one none may.
        for (site, mixed) in [("alpha", false), ("alpha", true), ("bravo", false)] {
            let ordered: Vec<_> = in_order(&policies, site)
                .into_iter()
                .filter(|(_, one)| mixed || one.treatment != Treatment::BestEffort)
                .collect();
            let firsts = packets.iter().filter_map(|packet| ordered.iter().find(|(_, one)| matches(one, *packet)));
            of_use.extend(firsts.map(|(name, _)| *name));
        }
        // The second site speaks IPv4 alone.
        of_use.retain(|name| {
            let one = &policies[*name];
            holds(one, "alpha") || one.matches.iter().any(|one| one.prefix.is_none_or(|prefix| prefix.addr().is_ipv4()))
        });
        let here = |name: &&String| holds(&policies[*name], "alpha") || holds(&policies[*name], "bravo");
        let expected: BTreeSet<&String> = policies.keys().filter(here).filter(|name| !of_use.contains(name)).collect();
        let compiled = compile(&two_sites(policies.clone()));
        let said = compiled.diagnostics.iter().filter(|one| one.reason == Reason::NeverMatches).map(|one| &one.key);
        prop_assert_eq!(said.collect::<BTreeSet<_>>(), expected);
    }
}
