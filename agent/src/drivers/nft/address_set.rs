//! Sets of addresses, one per family: nft merges what overlaps or touches, so it is merged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::words::one_of;

/// The families as nft's payload expressions call them.
pub const FAMILIES: [&str; 2] = ["ip", "ip6"];

/// The prefixes of `family` in `all`.
pub fn of_family<'a>(family: &'a str, all: &'a [IpNet]) -> impl Iterator<Item = IpNet> + 'a {
    all.iter().copied().filter(move |net| net.addr().is_ipv6() == (family == "ip6"))
}

/// The addresses of `prefixes` (all of one family); `None` if there are none. One network is compared, which costs a
/// quarter of a range and an eighth of a set.
pub fn addresses(prefixes: impl Iterator<Item = IpNet>) -> Option<Value> {
    let ranges = ranges(prefixes);
    if let [(first, last)] = ranges[..] {
        return Some(network(first, last).map_or_else(|| range(first, last), masked));
    }
    let all: Vec<Value> = ranges.into_iter().map(|(first, last)| range(first, last)).collect();
    (!all.is_empty()).then(|| one_of(all))
}

/// The network whose first and last addresses these are, if there is one.
fn network(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let differing = number(first) ^ number(last);
    let host_bits = u128::BITS - differing.leading_zeros();
    let length = if first.is_ipv6() { 128 } else { 32 } - host_bits as u8;
    let network = IpNet::new(first, length).ok()?;
    ((network.network(), network.broadcast()) == (first, last)).then_some(network)
}

/// The network as a mask and a value. nft knows no mask without bits, and lists that of an address as the address.
pub fn masked(net: IpNet) -> Value {
    match net.prefix_len() {
        0 => prefix(net),
        length if length == net.max_prefix_len() => json!(net.addr()),
        length => json!({"prefix": {"addr": net.network(), "len": length}}),
    }
}

/// First and last addresses of `prefixes` (all of one family), sorted, what touches in one.
pub fn ranges(prefixes: impl Iterator<Item = IpNet>) -> Vec<(IpAddr, IpAddr)> {
    let mut sorted: Vec<(u128, u128, bool)> =
        prefixes.map(|net| (number(net.network()), number(net.broadcast()), net.addr().is_ipv6())).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u128, u128, bool)> = Vec::new();
    for (first, last, v6) in sorted {
        match merged.last_mut() {
            Some((_, end, _)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last, v6)),
        }
    }
    merged.into_iter().map(|(first, last, v6)| (address(first, v6), address(last, v6))).collect()
}

/// A prefix, which nft lists as an address where it is one.
pub fn prefix(net: IpNet) -> Value {
    range(net.network(), net.broadcast())
}

/// From `first` to `last`.
pub fn range(first: IpAddr, last: IpAddr) -> Value {
    if first == last { json!(first) } else { json!({"range": [first, last]}) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn address(number: u128, v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(number as u32).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> Option<Value> {
        addresses(prefixes.iter().map(|net| net.parse().unwrap()))
    }

    #[test]
    fn what_touches_or_overlaps_is_one_range_and_what_is_one_is_no_set() {
        assert_eq!(set(&[]), None);
        assert_eq!(set(&["10.0.0.7/32"]), Some(json!("10.0.0.7")));
        assert_eq!(
            set(&["10.0.2.0/24", "10.0.0.0/24", "10.0.1.0/24"]),
            Some(json!({"range": ["10.0.0.0", "10.0.2.255"]}))
        );
        assert_eq!(
            set(&["10.0.0.0/24", "10.0.1.0/24"]),
            Some(json!({"prefix": {"addr": "10.0.0.0", "len": 23}})),
            "together a network"
        );
        let apart = json!({"set": [{"range": ["10.0.0.0", "10.255.255.255"]}, "192.0.2.1"]});
        assert_eq!(set(&["192.0.2.1/32", "10.77.0.0/16", "10.0.0.0/8"]), Some(apart));
        assert_eq!(
            set(&["::/0", "fd00::/8"]),
            Some(json!({"range": ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]}))
        );
    }
}
