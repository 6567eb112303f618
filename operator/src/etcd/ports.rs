//! Loopback ports of the private etcd: chosen once, remembered, chosen again if somebody else took them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Where the private etcd listens, on 127.0.0.1 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub client: u16,
    /// etcd insists on a peer port although this one has no peers.
    pub peer: u16,
}

impl Ports {
    /// The ports written in `file`, if there are any.
    pub fn remembered(file: &Path) -> Option<Ports> {
        let text = fs::read_to_string(file).ok()?;
        let (client, peer) = text.trim().split_once(' ')?;
        Some(Ports { client: client.parse().ok()?, peer: peer.parse().ok()? })
    }

    /// The remembered ports if both are free, else two free ones, written to `file`.
    ///
    /// # Errors
    /// No free port, or `file` cannot be written.
    pub fn choose(file: &Path) -> io::Result<Ports> {
        if let Some(ports) = Ports::remembered(file)
            && listen(ports.client).is_ok()
            && listen(ports.peer).is_ok()
        {
            return Ok(ports);
        }
        // Both sockets are open at once, so that the two numbers differ.
        let (client, peer) = (listen(0)?, listen(0)?);
        let ports = Ports { client: client.local_addr()?.port(), peer: peer.local_addr()?.port() };
        fs::write(file, format!("{} {}\n", ports.client, ports.peer))?;
        Ok(ports)
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_kept_until_somebody_else_takes_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports");
        let first = Ports::choose(&file).unwrap();
        assert_ne!(first.client, first.peer);
        assert_eq!(Ports::choose(&file).unwrap(), first);
        let _taken = listen(first.client).unwrap();
        let second = Ports::choose(&file).unwrap();
        assert_ne!(second.client, first.client);
        assert_eq!(Ports::remembered(&file), Some(second));
    }
}
