//! Probes of a path: how large a packet may be on it, and by which hops it leads.

mod error;

pub use error::{PathError, Prober};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::host::Host;
use crate::shape::Discovery;

/// Where traceroute begins to count ports, one per hop; nobody listens there.
const PORTS: u16 = 33_434;
/// Longer than any round trip of the lab.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who answers at each hop from `from` to `to`, until `to` itself does; none where nobody does in time.
///
/// # Errors
/// When a socket is not to be had.
pub fn hops(from: (&Host, IpAddr), to: IpAddr, most: u8) -> Result<Vec<Option<IpAddr>>> {
    let prober = Prober::open(from.0, from.1, Discovery::Never)?;
    let mut all = Vec::new();
    for hop in 1..=most {
        prober.set_hops(hop)?;
        let target = SocketAddr::new(to, PORTS + u16::from(hop));
        prober.send(target, 60)?;
        let error = prober.error(target, clock::now() + PATIENCE)?;
        all.push(error.map(|error| error.from));
        if error.is_some_and(|error| error.from == to) {
            break;
        }
    }
    Ok(all)
}

/// Sends one packet of `size` bytes (IP header and all) that may not be cut up, to a port of `to` where nobody listens.
/// Then the far end complains about the port, or somebody between about the size; none if all is silent.
///
/// # Errors
/// When a socket is not to be had, or the host's own interface is too narrow.
pub fn complaint(from: (&Host, IpAddr), to: IpAddr, size: usize) -> Result<Option<PathError>> {
    let prober = Prober::open(from.0, from.1, Discovery::Probe)?;
    let target = SocketAddr::new(to, PORTS);
    prober.send(target, size)?;
    prober.error(target, clock::now() + PATIENCE)
}
