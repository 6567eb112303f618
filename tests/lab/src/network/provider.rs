//! What an internet provider's router does: leases by DHCP and router advertisements (a real dnsmasq), and address
//! translation of IPv4 (real nft).

use std::path::Path;

use anyhow::{Context, Result};

use super::plan::Uplink;
use crate::daemon::{Daemon, Recipe};
use crate::host::Host;

/// The router's interface towards the edge.
pub const EDGE_SIDE: &str = "edge0";
/// The router's interface towards the WAN.
pub const WAN_SIDE: &str = "up0";

/// Configures `router` for the customers of `uplink`. Its two interfaces exist.
///
/// # Errors
/// When a tool is missing (see `deploy/setup.sh`) or refuses.
pub fn start(router: &Host, uplink: &Uplink, logs: &Path) -> Result<Daemon> {
    router.forward()?;
    let (gateway, private, prefix6) = (uplink.gateway(), uplink.private, uplink.prefix6());
    let [public, public_gateway] = uplink.public();
    router.ip(&format!(
        "address add {gateway}/24 dev {EDGE_SIDE}
         address add {prefix6}1/64 dev {EDGE_SIDE} nodad
         link set {EDGE_SIDE} up
         address add {public}/30 dev {WAN_SIDE}
         address add {}/64 dev {WAN_SIDE} nodad
         link set {WAN_SIDE} up
         route add default via {public_gateway}
         route add default via {}",
        uplink.transit6(2),
        uplink.transit6(1),
    ))?;
    // Only what the provider has leased is translated: packets of other networks would show a leak of ours as it is.
    router.nft(&format!(
        "table ip nat {{
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr {private}.0/24 oifname {WAN_SIDE} masquerade
            }}
        }}"
    ))?;
    let arguments = [
        "--keep-in-foreground".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--user=root".to_owned(),
        "--pid-file=".to_owned(),
        "--log-facility=-".to_owned(),
        "--log-dhcp".to_owned(),
        // No DNS.
        "--port=0".to_owned(),
        format!("--interface={EDGE_SIDE}"),
        "--bind-interfaces".to_owned(),
        "--dhcp-authoritative".to_owned(),
        // Otherwise the first lease waits three seconds for an echo from its address.
        "--no-ping".to_owned(),
        format!("--dhcp-range={private}.50,{private}.99,255.255.255.0,1h"),
        format!("--dhcp-option=option:router,{gateway}"),
        // The prefix and the MTU of the line are advertised; addresses are not managed.
        "--enable-ra".to_owned(),
        format!("--dhcp-range={prefix6},ra-only,64"),
        format!("--dhcp-leasefile=/run/lab/dhcp-{}", uplink.router),
    ];
    let recipe =
        Recipe { name: format!("dhcp-{}", uplink.router), program: "dnsmasq".into(), arguments: arguments.into() };
    Daemon::start(router, recipe, logs).context("DHCP needs dnsmasq: run `make setup`")
}
