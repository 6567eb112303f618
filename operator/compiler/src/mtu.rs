//! MTUs, in bytes: of tunnels, of what goes into the shim, and of what goes straight to the internet.

use pathsteer_crds::Kind;
use pathsteer_crds::plan::Family;

use crate::anchor::Anchor;
use crate::diagnostics::Diagnostics;
use crate::reason::Reason;
use crate::resolve::{Common, Resolved};
use crate::site::Site;
use crate::uplink::Uplink;

/// Outer IPv4 header (20 bytes) and GRE with key and sequence (12 bytes): what the shim adds to a packet.
const SHIM_BYTES: u32 = 32;
/// Outer IPv6 header (40), UDP (8) and WireGuard's own header and tag (32): what a tunnel adds at most.
const TUNNEL_BYTES: u32 = 80;
/// IPv6 gives every link this much (RFC 8200), so the tunnels of a site that speaks it never carry less.
pub(crate) const LEAST_IPV6: u32 = 1_280;

/// Of the tunnel from `site` through `uplink` to `anchor`.
pub(crate) fn tunnel(site: &Site<'_>, uplink: &Uplink<'_>, anchor: &Anchor<'_>) -> u32 {
    carried(site, uplink.spec.mtu.min(anchor.spec.mtu))
}

/// Of what `site` sends into the shim: what fits its smallest tunnel, because any packet may take or be copied to any.
pub(crate) fn inner(common: &Common<'_>, site: &Site<'_>) -> u32 {
    let anchors = common.anchors_of(site).map(|anchor| anchor.spec.mtu);
    let smallest = anchors.chain(site.uplinks.iter().map(|uplink| uplink.spec.mtu)).min();
    carried(site, smallest.expect("a site has an anchor")) - SHIM_BYTES
}

/// Of what `anchor` sends into the shim: what its largest site takes; routes say where it is less.
pub(crate) fn anchor_inner(resolved: &Resolved<'_>, anchor: &Anchor<'_>) -> u32 {
    let sites = resolved.sites_of(anchor).map(|site| inner(&resolved.common, site)).max();
    sites.unwrap_or(u32::from(anchor.spec.mtu) - TUNNEL_BYTES - SHIM_BYTES)
}

/// Of the interface of `anchor` for `slot`: what the largest of its sites' tunnels there takes.
pub(crate) fn anchor_tunnel(resolved: &Resolved<'_>, anchor: &Anchor<'_>, slot: u8) -> Option<u32> {
    let sites = resolved.sites_of(anchor);
    let tunnels = sites.filter_map(|site| Some(tunnel(site, site.uplink_in(slot)?, anchor)));
    tunnels.max()
}

/// Of the veth to `uplink`: what goes straight to the internet fits the uplink as it is; what is shimmed fits too.
pub(crate) fn veth(common: &Common<'_>, site: &Site<'_>, uplink: &Uplink<'_>) -> u32 {
    u32::from(uplink.spec.mtu).max(inner(common, site) + SHIM_BYTES)
}

/// What a tunnel of `site` carries over a WAN of this MTU.
fn carried(site: &Site<'_>, wan: u16) -> u32 {
    let floor = if site.speaks(Family::Ipv6) { LEAST_IPV6 + SHIM_BYTES } else { 0 };
    (u32::from(wan) - TUNNEL_BYTES).max(floor)
}

/// Says which uplinks carry tunnels larger than themselves.
pub(crate) fn diagnose(resolved: &Resolved<'_>, diagnostics: &mut Diagnostics) {
    for site in resolved.sites.values() {
        for uplink in &site.uplinks {
            for anchor in resolved.common.anchors_of(site) {
                let wan = uplink.spec.mtu.min(anchor.spec.mtu);
                let tunnel = tunnel(site, uplink, anchor);
                if tunnel + TUNNEL_BYTES > u32::from(wan) {
                    let message = format!(
                        "{wan} bytes to Anchor `{}` are too few for IPv6 inside (it needs {}): the largest WireGuard datagrams will be fragmented",
                        anchor.name,
                        tunnel + TUNNEL_BYTES
                    );
                    let key = format!("{}/{}", site.name, uplink.name);
                    diagnostics.warning(Kind::Uplink, &key, Reason::MtuBelowIpv6, message);
                }
            }
        }
    }
}
