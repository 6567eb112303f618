//! Where prefixes lie.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use aya::maps::{MapError, lpm_trie::Key};

use super::{Maps, gone_is_fine};
use crate::layout::Behind;

impl Maps {
    /// Every prefix (IPv4 as such) and where it lies.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prefixes(&self) -> Result<BTreeMap<(IpAddr, u8), Behind>, MapError> {
        self.prefix.iter().map(|entry| entry.map(|(key, behind)| (from_key(&key), behind.into()))).collect()
    }

    /// # Errors
    /// What the kernel says.
    pub fn set_prefix(&mut self, address: IpAddr, length: u8, behind: Behind) -> Result<(), MapError> {
        self.prefix.insert(&to_key(address, length), u32::from(behind), 0)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_prefix(&mut self, address: IpAddr, length: u8) -> Result<(), MapError> {
        gone_is_fine(self.prefix.remove(&to_key(address, length)))
    }
}

/// IPv4 is kept as ::ffff:a.b.c.d, its length counted from 96.
fn to_key(address: IpAddr, length: u8) -> Key<[u8; 16]> {
    match address {
        IpAddr::V4(v4) => Key::new(u32::from(length) + 96, v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => Key::new(u32::from(length), v6.octets()),
    }
}

fn from_key(key: &Key<[u8; 16]>) -> (IpAddr, u8) {
    let (length, octets) = (key.prefix_len(), key.data());
    if length >= 96 && octets[..12] == Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets()[..12] {
        let [.., a, b, c, d] = octets;
        (Ipv4Addr::new(a, b, c, d).into(), (length - 96) as u8)
    } else {
        (IpAddr::from(octets), length as u8)
    }
}
