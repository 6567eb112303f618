//! Claims: what only one object can have, and who has it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pathsteer_crds::Kind;

/// Who had what before, and who has what now.
///
/// When two objects want the same, the one that had it keeps it, otherwise the one whose name sorts first gets it: so
/// that a mistake in a new manifest harms the object it was made in and no other.
pub(crate) struct Claims<'a> {
    before: &'a BTreeMap<String, String>,
    now: BTreeMap<String, String>,
}

impl<'a> Claims<'a> {
    pub fn new(before: &'a BTreeMap<String, String>) -> Self {
        Claims { before, now: BTreeMap::new() }
    }

    /// Who of `claimants` (in order, at least one) gets `thing`.
    pub fn grant<'c>(&mut self, thing: String, claimants: &[(Kind, &'c str)]) -> (Kind, &'c str) {
        let name = |(kind, key): &(Kind, &str)| format!("{kind} {key}");
        let before = self.before.get(&thing);
        let holder = claimants.iter().find(|one| before == Some(&name(one))).unwrap_or(&claimants[0]);
        self.now.insert(thing, name(holder));
        *holder
    }

    pub fn into_map(self) -> BTreeMap<String, String> {
        self.now
    }
}

/// Networks of one sort and whose they are; no two of different owners overlap.
pub(crate) struct Networks<'a> {
    sort: String,
    owners: BTreeMap<IpNet, &'a str>,
}

impl<'a> Networks<'a> {
    /// A network of somebody else's that overlaps `network`, which has no host bits set.
    pub fn overlapping(&self, network: IpNet, owner: &str) -> Option<(IpNet, &'a str)> {
        self.all_overlapping(network, owner).next()
    }

    /// Every network of somebody else's that overlaps `network`, which has no host bits set.
    pub fn all_overlapping<'s>(
        &'s self,
        network: IpNet,
        owner: &'s str,
    ) -> impl Iterator<Item = (IpNet, &'a str)> + use<'s, 'a> {
        // Two networks overlap exactly when one contains the other.
        let around = (0..=network.prefix_len())
            .filter_map(move |length| IpNet::new(network.addr(), length).ok())
            .filter_map(|wider| self.owners.get_key_value(&wider.trunc()));
        let inside = self.owners.range(network..).take_while(move |(narrower, _)| network.contains(*narrower));
        let others = around.chain(inside.filter(move |(narrower, _)| **narrower != network));
        others.filter(move |(_, other)| **other != owner).map(|(network, other)| (*network, *other))
    }

    /// Networks of which it is known that no two of different owners overlap.
    pub fn known(networks: impl Iterator<Item = (IpNet, &'a str)>) -> Self {
        Networks { sort: String::new(), owners: networks.map(|(network, owner)| (network.trunc(), owner)).collect() }
    }

    pub fn insert(&mut self, network: IpNet, owner: &'a str) {
        self.owners.insert(network, owner);
    }
}

impl Claims<'_> {
    /// Those of `wanted` whose owner had exactly that network of this `sort` before.
    pub fn networks<'c>(&self, sort: String, wanted: impl Iterator<Item = (IpNet, &'c str)>) -> Networks<'c> {
        let mut kept = Networks { sort: sort.clone(), owners: BTreeMap::new() };
        for (network, owner) in wanted {
            let had = self.before.get(&format!("{sort} {network}")).is_some_and(|before| before == owner);
            if had && kept.overlapping(network, owner).is_none() {
                kept.insert(network, owner);
            }
        }
        kept
    }

    /// Writes down whose every network is.
    pub fn record(&mut self, networks: Networks<'_>) {
        let Networks { sort, owners } = networks;
        self.now.extend(owners.into_iter().map(|(network, owner)| (format!("{sort} {network}"), owner.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn who_had_it_keeps_it_and_otherwise_the_first_name_gets_it() {
        let before = BTreeMap::from([("slot rv-07/1".to_owned(), "Uplink rv-07/fiber".to_owned())]);
        let mut claims = Claims::new(&before);
        let both = [(Kind::Uplink, "rv-07/cellular"), (Kind::Uplink, "rv-07/fiber")];
        assert_eq!(claims.grant("slot rv-07/1".to_owned(), &both), both[1]);
        assert_eq!(claims.grant("slot rv-07/2".to_owned(), &both), both[0]);
        assert_eq!(claims.into_map().len(), 2);
    }

    #[test]
    fn a_network_overlaps_those_around_it_and_those_inside_it() {
        let before = BTreeMap::new();
        let mut networks = Claims::new(&before).networks("prefix".to_owned(), std::iter::empty());
        networks.insert(net("172.16.0.0/16"), "a");
        networks.insert(net("2001:db8:7:ff::1/128"), "b");
        assert_eq!(networks.overlapping(net("172.16.7.0/24"), "c"), Some((net("172.16.0.0/16"), "a")));
        assert_eq!(networks.overlapping(net("2001:db8:7::/48"), "c"), Some((net("2001:db8:7:ff::1/128"), "b")));
        assert_eq!(networks.overlapping(net("172.16.7.0/24"), "a"), None, "one's own networks may nest");
        assert_eq!(networks.overlapping(net("172.17.0.0/16"), "c"), None);
    }

    #[test]
    fn of_two_overlapping_networks_the_one_recorded_before_is_kept() {
        let before = BTreeMap::from([("prefix 172.16.7.0/24".to_owned(), "z".to_owned())]);
        let claims = Claims::new(&before);
        let wanted = [(net("172.16.0.0/16"), "a"), (net("172.16.7.0/24"), "z")];
        let kept = claims.networks("prefix".to_owned(), wanted.into_iter());
        assert_eq!(kept.overlapping(net("172.16.0.0/16"), "a"), Some((net("172.16.7.0/24"), "z")));
    }
}
