//! What uplinks ask their networks for: one thread per uplink, living inside the uplink's namespace with clients of its
//! own.

mod refusal;
mod router;
mod v4;
mod v6;

use std::{collections::BTreeMap, future::pending, time::Duration};

use pathsteer_agent_core::{Lease, Lender};
use pathsteer_crds::plan::DhcpSpec;
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::sync::{mpsc, oneshot, watch};

use crate::sys::{
    netlink::{Netlink, name_of},
    netns::{Netns, NetnsId},
};

/// Pause before a client that failed begins anew; a NIC may be on its way into the namespace.
const RETRY: Duration = Duration::from_millis(500);

/// A client without a lease that has not been given one for so long begins anew: left alone it would ask ever more
/// seldom, up to a minute apart, and a server that returns would find nobody asking.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What a network lends an uplink now; without a lease, no longer.
#[derive(Debug)]
pub struct News {
    pub slot: u8,
    pub lender: Lender,
    pub lease: Option<Lease>,
}

/// The running clients.
pub struct Dhcp {
    clients: BTreeMap<u8, Client>,
    news: mpsc::UnboundedSender<News>,
}

struct Client {
    spec: DhcpSpec,
    card: Card,
    /// Dropped, it ends the client.
    _stop: oneshot::Sender<()>,
}

/// What is asked for: the namespace and index of the card, its MAC, and how often it has had a carrier. Another network
/// may be behind a cable that was pulled, so its client asks anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Card {
    netns: NetnsId,
    index: u32,
    mac: [u8; 6],
    carriers: u32,
}

/// One client's view of its uplink.
#[derive(Clone)]
struct Uplink {
    spec: DhcpSpec,
    card: Card,
    news: mpsc::UnboundedSender<News>,
}

impl Uplink {
    fn tell(&self, lender: Lender, lease: Option<Lease>) {
        // nobody hears it while the agent ends
        let _ = self.news.send(News { slot: self.spec.slot, lender, lease });
    }
}

impl Dhcp {
    /// Whatever is lent, renewed or withdrawn is sent to `news`.
    pub fn new(news: mpsc::UnboundedSender<News>) -> Self {
        Dhcp { clients: BTreeMap::new(), news }
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
                let stop = start(&netns, Uplink { spec: spec.clone(), card, news: self.news.clone() });
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
    let mut card = Card { netns: netns.id().ok()?, index: link.header.index, mac: [0; 6], carriers: 0 };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::CarrierUpCount(count) => card.carriers = *count,
            LinkAttribute::Address(mac) => card.mac = mac.as_slice().try_into().unwrap_or_default(),
            _ => {}
        }
    }
    Some((netns, card))
}

fn start(netns: &Netns, uplink: Uplink) -> oneshot::Sender<()> {
    let (stop, mut stopped) = oneshot::channel();
    let netns = netns.clone();
    // `run` itself waits for its thread, so it gets one of its own
    std::thread::spawn(move || {
        let slot = uplink.spec.slot;
        let ended = netns.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (said, says) = watch::channel(router::Flags::default());
                let v4 = async { if uplink.spec.ipv4 { v4::lease_for_ever(&uplink).await } else { pending().await } };
                tokio::select! {
                    () = v4 => {}
                    () = router::listen_for_ever(&uplink, &said) => {}
                    () = v6::ask_for_ever(&uplink, says) => {}
                    _ = &mut stopped => {}
                }
            });
            // without waiting for what the clients have left to do
            runtime.shutdown_background();
            Ok(())
        });
        if let Err(error) = ended {
            tracing::warn!(slot, %error, "DHCP client ended");
        }
    });
    stop
}
