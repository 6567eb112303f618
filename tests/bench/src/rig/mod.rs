//! What carries packets from a client to a server: a chain of namespaces with or without the product in it. Every rig has
//! namespaces of its own and stands idle while others are measured.

mod chain;
mod peer;
mod shim;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use crate::node::leak;
use crate::traffic::udp::{self, Pace};
use crate::traffic::{CLIENT, CLIENT_V6, SERVER, SERVER_V6, Window, address};

pub use chain::{Chain, Tunnel};
pub use shim::{Medium, ShimRig};
pub use wire::cable;

/// How long a rig may take until packets pass: a handshake and what is learned by the first packets.
const DEADLINE: Duration = Duration::from_secs(20);
/// A port nothing else uses.
pub const PORT: u16 = 5_201;

/// The two that talk.
pub struct Ends {
    pub client: Host,
    pub server: Host,
}

impl Ends {
    /// Client and server of the rig called `name`.
    ///
    /// # Errors
    /// Needs root.
    pub fn new(name: &str) -> Result<Ends> {
        let host = |letter: &str| {
            let host = Host::new(leak(&format!("{name}-{letter}")))?;
            host.publish()?;
            Ok::<_, anyhow::Error>(host)
        };
        Ok(Ends { client: host("c")?, server: host("s")? })
    }

    /// Connects them: the client to `lan` (172.16.7.1), the server to `internet` (198.51.100.1).
    ///
    /// # Errors
    /// When a card of that name is there already.
    pub fn connect(&self, lan: (&Host, &str), internet: (&Host, &str)) -> Result<()> {
        cable(&self.client, (&self.client, "eth0"), lan)?;
        cable(&self.server, (&self.server, "eth0"), internet)?;
        let side = |host: &Host, v4: &str, gateway: &str, v6: &str, gateway_v6: &str| {
            host.ip(&format!(
                "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n\
                 route add default via {gateway}\nroute add default via {gateway_v6}"
            ))
        };
        side(&self.client, CLIENT, "172.16.7.1", CLIENT_V6, "2001:db8:7::1")?;
        side(&self.server, SERVER, "198.51.100.1", SERVER_V6, "2001:db8:51::1")
    }

    /// Where the server listens.
    pub fn server_address(&self) -> SocketAddr {
        (address(SERVER), PORT).into()
    }

    /// The same over IPv6.
    pub fn server_address_v6(&self) -> SocketAddr {
        (address(SERVER_V6), PORT).into()
    }

    /// The client's address, for packets the other way.
    pub fn client_address(&self) -> SocketAddr {
        (address(CLIENT), PORT).into()
    }

    /// Waits until packets pass both ways.
    ///
    /// # Errors
    /// When none do in time.
    pub fn await_passage(&self) -> Result<()> {
        let deadline = clock::now() + DEADLINE;
        let ways =
            [(&self.client, &self.server, self.server_address()), (&self.server, &self.client, self.client_address())];
        for (from, to, at) in ways {
            while udp::stream(from, to, at, 64, Pace::PerMillisecond(1), Window::short())?.delivered == 0 {
                if clock::now() > deadline {
                    bail!("nothing passes from {} to {}", from.name, to.name);
                }
            }
        }
        Ok(())
    }
}
