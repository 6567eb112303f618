//! DHCPv4 (RFC 2131).

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use pathsteer_agent_core::{Lease, Lender};
use tokio::time::timeout;

use super::{ATTEMPT, RETRY, Uplink, refusal::Refusal};
use crate::sys::clock;

/// A refused address is no longer ours. A new one that comes so soon replaces it without a gap.
const GRACE: Duration = Duration::from_secs(10);

/// RFC 8910.
const CAPTIVE_PORTAL: u8 = 114;

pub async fn lease_for_ever(uplink: &Uplink) {
    loop {
        if let Err(error) = lease(uplink).await {
            tracing::debug!(slot = uplink.spec.slot, link = uplink.spec.link, %error, "DHCP");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Obtains a lease and renews it until something fails. Between the renewal that nobody answers and the end of the lease
/// the client goes on asking, at first its own server, then any.
async fn lease(uplink: &Uplink) -> io::Result<()> {
    let mut config = DhcpV4Config::new(&uplink.spec.link);
    // Before the client's identifier, which is made of it: without, every node would have the same.
    config.set_iface_index(uplink.card.index).set_iface_mac_raw(&uplink.card.mac).map_err(io::Error::other)?;
    config.use_mac_as_client_id().request_extra_dhcp_opts(&[CAPTIVE_PORTAL]);
    let mut client = DhcpV4Client::init(config, None).await.map_err(io::Error::other)?;
    let mut held: Option<Lease> = None;
    let mut rests = false;
    loop {
        // a lease counts from when it was asked for
        let asked = clock::since_boot();
        let state = if rests {
            client.run().await
        } else {
            let mut refusal = Refusal::listen(uplink.card.index, uplink.card.mac)?;
            let patience = if held.is_some() { Duration::MAX } else { ATTEMPT };
            tokio::select! {
                state = timeout(patience, client.run()) => state.map_err(|_| io::Error::other("nobody answers"))?,
                heard = refusal.heard() => {
                    heard?;
                    if let Some(lease) = held {
                        let expires = clock::since_boot() + GRACE;
                        tracing::warn!(slot = uplink.spec.slot, address = ?lease.address, "refused");
                        uplink.tell(Lender::Dhcpv4, Some(Lease { expires: lease.expires.min(expires), ..lease }));
                    }
                    return Err(io::Error::other("the server refused (DHCPNAK)"));
                }
            }
        };
        rests = false;
        match state.map_err(io::Error::other)? {
            DhcpV4State::Done(lent) => {
                let Some(lease) = lease_of(&lent, asked) else {
                    return Err(io::Error::other(format!("{} has no netmask", lent.yiaddr)));
                };
                tracing::info!(slot = uplink.spec.slot, address = ?lease.address, gateway = ?lease.gateway, "lease");
                uplink.tell(Lender::Dhcpv4, Some(lease.clone()));
                held = Some(lease);
                rests = true;
            }
            // the lease has ended; whoever holds it knows by itself
            DhcpV4State::InitReboot => held = None,
            _ => {}
        }
    }
}

fn lease_of(lent: &DhcpV4Lease, since: Duration) -> Option<Lease> {
    let address = Ipv4Net::with_netmask(lent.yiaddr, lent.subnet_mask).ok()?;
    // where there are classless routes the router's option does not count (RFC 3442)
    let gateway = match &lent.classless_routes {
        Some(routes) => routes.iter().find(|route| route.prefix_length == 0).map(|route| route.router),
        None => lent.gateways.as_ref().and_then(|gateways| gateways.first()).copied(),
    };
    // the option as it travels: its code, its length, its text
    let portal = lent.get_option_raw(CAPTIVE_PORTAL).and_then(|raw| String::from_utf8(raw.get(2..)?.to_vec()).ok());
    Some(Lease {
        address: Some(IpNet::V4(address)),
        gateway: gateway.filter(|gateway| *gateway != Ipv4Addr::UNSPECIFIED).map(IpAddr::V4),
        resolvers: lent.dns_srvs.iter().flatten().copied().map(IpAddr::V4).collect(),
        captive_portal: portal.and_then(|portal| url_of(&portal)),
        expires: since + Duration::from_secs(lent.lease_time_sec.into()),
    })
}

/// A portal's address is shown to people, so it is nothing but one.
pub fn url_of(text: &str) -> Option<String> {
    let text = text.trim_end_matches('\0');
    let is_url = (text.starts_with("https://") || text.starts_with("http://"))
        && text.len() <= 1_024
        && text.chars().all(|c| c.is_ascii_graphic());
    is_url.then(|| text.to_owned())
}
