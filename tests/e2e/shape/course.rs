//! From whom to whom: the van's client and the server in the internet, both ways, in both families.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use anyhow::Result;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{INTERNET, LAN};

use crate::talk;

/// Who sends, and who receives.
#[derive(Debug, Clone)]
pub struct Course {
    pub from: Host,
    pub source: IpAddr,
    pub to: Host,
    pub target: IpAddr,
}

/// No two flows of these cases have a port in common: a straggler of one is never taken for a packet of the next.
static NEXT_PORT: AtomicU16 = AtomicU16::new(50_000);

impl Course {
    /// All four.
    pub fn all(network: &Network) -> Vec<Course> {
        let (lan, internet) = (network.host(LAN).clone(), network.host(INTERNET).clone());
        let ways = |(client, server)| {
            let up = Course { from: lan.clone(), source: client, to: internet.clone(), target: server };
            let down = Course { from: internet.clone(), source: server, to: lan.clone(), target: client };
            [up, down]
        };
        talk::ENDS.into_iter().flat_map(ways).collect()
    }

    pub fn is_up(&self) -> bool {
        self.from.name == LAN
    }

    /// Unused addresses with ports for one flow.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let port = NEXT_PORT.fetch_add(1, Relaxed);
        (SocketAddr::new(self.source, port), SocketAddr::new(self.target, port))
    }

    /// A sending and a receiving socket, and where to send.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn sockets(&self) -> Result<(UdpSocket, UdpSocket, SocketAddr)> {
        let (near, far) = self.addresses();
        Ok((talk::socket(&self.from, near)?, talk::socket(&self.to, far)?, far))
    }
}
