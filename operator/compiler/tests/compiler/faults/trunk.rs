//! Segments with a tag, and anchors that translate to a pool.

use super::Fault;
use super::plant::{link, net, unprotect};

pub const FAULTS: &[Fault] = &[
    ("a trunk that takes what has no tag", "ship", |p| unprotect(p, "psvip", "trunk1"), "NotProtected"),
    ("a segment without its link", "ship", |p| p.links.retain(|link| link.name != "psq20"), "NothingThere"),
    (
        "an address of the pool that nobody has",
        "dal-a",
        |p| p.addresses.retain(|own| own.address != net("198.51.100.19/32")),
        "PoolNotAssigned",
    ),
    ("a tunnel smaller than a site's packets", "dal-a", |p| link(p, "psw1").mtu = Some(1_311), "TooBig"),
];
