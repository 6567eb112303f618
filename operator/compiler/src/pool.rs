//! Pools: the addresses to which an anchor translates what its sites open.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pathsteer_crds::{AnchorSpec, Egress, Kind};

use crate::diagnostics::Diagnostics;
use crate::reason::Reason;
use crate::resolve::{Admission, Resolved};

/// Of a network 256 addresses are used: as many as can sensibly be given to an interface.
const IPV4_LENGTH: u8 = 24;
const IPV6_LENGTH: u8 = 120;

/// The networks of the pool, as far as they are used. IPv6 that is routed to the anchor is used as a whole.
pub(crate) fn of(spec: &AnchorSpec) -> impl Iterator<Item = IpNet> {
    let pool = match &spec.egress {
        Egress::Routed => &[][..],
        Egress::Snat { pool } => pool,
    };
    pool.iter().map(|network| match network {
        IpNet::V4(v4) if v4.prefix_len() < IPV4_LENGTH => IpNet::V4(Ipv4Net::new_assert(v4.network(), IPV4_LENGTH)),
        IpNet::V6(v6) if v6.prefix_len() < IPV6_LENGTH && on_link(spec, network) => {
            IpNet::V6(Ipv6Net::new_assert(v6.network(), IPV6_LENGTH))
        }
        whole => *whole,
    })
}

/// Addresses of the pool that the internet interface must have, because its neighbours ask for them; but for those it
/// has already.
pub(crate) fn assigned(spec: &AnchorSpec) -> impl Iterator<Item = IpAddr> {
    let networks = of(spec).filter(|network| on_link(spec, network));
    let all = networks.flat_map(|network| match network {
        // Every address of a pool is used, also what a network of that length would call its own and its broadcast.
        IpNet::V4(v4) => (v4.network().to_bits()..=v4.broadcast().to_bits())
            .map(|bits| IpAddr::V4(bits.into()))
            .collect::<Vec<IpAddr>>(),
        IpNet::V6(v6) => {
            (v6.network().to_bits()..=v6.broadcast().to_bits()).map(|bits| IpAddr::V6(bits.into())).collect()
        }
    });
    all.filter(|address| !spec.internet.addresses.iter().any(|own| own.addr() == *address))
}

fn on_link(spec: &AnchorSpec, network: &IpNet) -> bool {
    spec.internet.addresses.iter().any(|own| own.trunc().contains(network))
}

/// Whether no address of the pool is somebody else's on the internet interface's network.
pub(crate) fn is_usable(admission: &mut Admission<'_>, name: &str, spec: &AnchorSpec) -> bool {
    let gateways = spec.internet.gateways.iter().map(|gateway| (*gateway, "the gateway"));
    // IPv4 networks of two addresses or one have no address of their own and no broadcast (RFC 3021).
    let networks = spec.internet.addresses.iter().filter(|own| own.addr().is_ipv4() && own.prefix_len() < 31);
    let theirs = networks.flat_map(|own| [(own.network(), "the network itself"), (own.broadcast(), "its broadcast")]);
    let mut usable = true;
    for (address, what) in gateways.chain(theirs) {
        if let Some(network) = of(spec).find(|network| network.contains(&address)) {
            usable = false;
            let message = format!("spec.egress.snat.pool: {network} contains {address}, which is {what}: take another");
            admission.diagnostics.error(Kind::Anchor, name, Reason::PoolTaken, message);
        }
    }
    usable
}

/// Says which anchors translate one family only, while a site uses the other.
pub(crate) fn diagnose(resolved: &Resolved<'_>, diagnostics: &mut Diagnostics) {
    for anchor in resolved.common.anchors.values().filter(|anchor| anchor.spec.egress != Egress::Routed) {
        for v6 in [false, true] {
            let of_family = |network: &IpNet| matches!(network, IpNet::V6(_)) == v6;
            let mut used = resolved.sites_of(anchor).filter(|site| site.spec.all_prefixes().iter().any(of_family));
            if let (false, Some(site)) = (anchor.pool().any(|network| of_family(&network)), used.next()) {
                let family = if v6 { "IPv6" } else { "IPv4" };
                let message = format!(
                    "the pool has no {family} address, and Site `{}` has {family} prefixes: they leave as they are; add one",
                    site.name
                );
                diagnostics.warning(Kind::Anchor, anchor.name, Reason::PoolLacksFamily, message);
            }
        }
    }
}
