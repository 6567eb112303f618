//! DHCPv4 on uplinks: one thread per uplink, living inside the uplink's namespace with a client of its own.

use std::{collections::BTreeMap, io, net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use pathsteer_agent_core::Lease;
use pathsteer_crds::plan::DhcpSpec;
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::sys::{
    netlink::{Netlink, name_of},
    netns::{Netns, NetnsId},
};

/// Pause before a client that failed begins anew; a NIC may be on its way into the namespace.
const RETRY: Duration = Duration::from_millis(500);

/// A renewal that takes longer is given up, and a lease asked for as if there were none; the address stays meanwhile.
/// The client does not hear a refusal (DHCPNAK): it would go on asking until the lease has expired.
const RENEWAL: Duration = Duration::from_secs(10);

/// The running clients.
pub struct Dhcp {
    clients: BTreeMap<u8, Client>,
    leases: mpsc::UnboundedSender<(u8, Lease)>,
}

struct Client {
    spec: DhcpSpec,
    card: Card,
    /// Dropped, it ends the client.
    _stop: oneshot::Sender<()>,
}

/// What a lease is for: the namespace and index of the card, and how often it has had a carrier. Another network may be
/// behind a cable that was pulled, so its client asks anew.
type Card = (NetnsId, u32, u32);

impl Dhcp {
    /// Every lease obtained or renewed is sent to `leases` with its slot.
    pub fn new(leases: mpsc::UnboundedSender<(u8, Lease)>) -> Self {
        Dhcp { clients: BTreeMap::new(), leases }
    }

    /// Lets exactly the clients of `declared` run. One whose namespace or card is not there yet begins in a later turn.
    pub async fn put(&mut self, declared: &[DhcpSpec]) {
        self.clients.retain(|_, client| declared.contains(&client.spec));
        for spec in declared {
            let Some((netns, card)) = card(spec).await else {
                // its sockets would keep a namespace alive that was deleted
                self.clients.remove(&spec.slot);
                continue;
            };
            if self.clients.get(&spec.slot).is_none_or(|client| client.card != card) {
                let stop = start(&netns, spec.clone(), self.leases.clone());
                self.clients.insert(spec.slot, Client { spec: spec.clone(), card, _stop: stop });
            }
        }
    }
}

/// The card as it is now, if it is there.
async fn card(spec: &DhcpSpec) -> Option<(Netns, Card)> {
    let netns = Netns::open(&spec.netns).ok()?;
    let links = Netlink::open(&netns).ok()?.links().await.ok()?;
    let link = links.iter().find(|link| name_of(link) == Some(&spec.link))?;
    let carriers = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::CarrierUpCount(count) => Some(*count),
        _ => None,
    });
    let card = (netns.id().ok()?, link.header.index, carriers.unwrap_or(0));
    Some((netns, card))
}

fn start(netns: &Netns, spec: DhcpSpec, leases: mpsc::UnboundedSender<(u8, Lease)>) -> oneshot::Sender<()> {
    let (stop, mut stopped) = oneshot::channel();
    let netns = netns.clone();
    // `run` itself waits for its thread, so it gets one of its own
    std::thread::spawn(move || {
        let slot = spec.slot;
        let ended = netns.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::select! {
                    () = lease_for_ever(&spec, &leases) => {}
                    _ = &mut stopped => {}
                }
            });
            // without waiting for what the client has left to do
            runtime.shutdown_background();
            Ok(())
        });
        if let Err(error) = ended {
            tracing::warn!(slot, %error, "DHCP client ended");
        }
    });
    stop
}

async fn lease_for_ever(spec: &DhcpSpec, leases: &mpsc::UnboundedSender<(u8, Lease)>) {
    loop {
        if let Err(error) = lease_once(spec, leases).await {
            tracing::debug!(slot = spec.slot, link = spec.link, %error, "DHCP");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Obtains a lease and renews it until something fails.
async fn lease_once(spec: &DhcpSpec, leases: &mpsc::UnboundedSender<(u8, Lease)>) -> io::Result<()> {
    let mut config = DhcpV4Config::new(&spec.link);
    config.use_mac_as_client_id();
    let mut client = DhcpV4Client::init(config, None).await.map_err(io::Error::other)?;
    let mut patience = Duration::MAX;
    loop {
        let not_renewed = || io::Error::other("the lease was not renewed");
        let state = timeout(patience, client.run()).await.map_err(|_| not_renewed())?.map_err(io::Error::other)?;
        patience = Duration::MAX;
        match state {
            DhcpV4State::Done(lease) => {
                let Some(lease) = lease_of(&lease) else {
                    return Err(io::Error::other(format!("{} has no netmask", lease.yiaddr)));
                };
                tracing::info!(slot = spec.slot, address = %lease.address, gateway = ?lease.gateway, "lease");
                let _ = leases.send((spec.slot, lease));
            }
            DhcpV4State::Renewing => patience = RENEWAL,
            DhcpV4State::Rebinding => return Err(not_renewed()),
            _ => {}
        }
    }
}

fn lease_of(lease: &DhcpV4Lease) -> Option<Lease> {
    let address = Ipv4Net::with_netmask(lease.yiaddr, lease.subnet_mask).ok()?;
    let first = lease.gateways.as_ref().and_then(|gateways| gateways.first()).copied();
    Some(Lease { address, gateway: first.filter(|gateway| *gateway != Ipv4Addr::UNSPECIFIED) })
}
