//! Whose an address is: the longest prefix decides.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Values by prefix. There are one or two prefix lengths in a device, so a lookup is one or two hash lookups however
/// many peers it has.
#[derive(Debug)]
pub(crate) struct AllowedIps<T>(Vec<(u8, HashMap<Ipv4Addr, T>)>);

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        AllowedIps(Vec::new())
    }
}

impl<T> AllowedIps<T> {
    /// Gives `network` to `value`, whoever had it.
    pub(crate) fn insert(&mut self, network: Ipv4Net, value: T) {
        let length = network.prefix_len();
        let position = match self.0.binary_search_by(|(other, _)| length.cmp(other)) {
            Ok(position) => position,
            Err(position) => {
                self.0.insert(position, (length, HashMap::new()));
                position
            }
        };
        self.0[position].1.insert(network.network(), value);
    }

    /// Whose `address` is.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<&T> {
        self.0.iter().find_map(|(length, values)| {
            // Zero bits cannot be shifted out of 32.
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            values.get(&Ipv4Addr::from(u32::from(address) & mask))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let mut allowed = AllowedIps::default();
        for (network, value) in [("10.0.0.0/8", 8), ("0.0.0.0/0", 0), ("10.1.2.3/32", 32), ("10.1.0.0/16", 16)] {
            allowed.insert(network.parse().unwrap(), value);
        }
        let find = |allowed: &AllowedIps<i32>, address: &str| allowed.find(address.parse().unwrap()).copied();
        let found = ["10.1.2.3", "10.1.2.4", "10.2.0.0", "192.0.2.1"].map(|address| find(&allowed, address));
        assert_eq!(found, [Some(32), Some(16), Some(8), Some(0)]);
        allowed = AllowedIps::default();
        allowed.insert("10.1.2.3/32".parse().unwrap(), 32);
        assert_eq!(find(&allowed, "10.1.2.4"), None);
    }
}
