//! Packets inside the tunnel, with the class they are sent and arrive with.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::net::{Net, visit, wait};
use crate::relay;

const SOON: Duration = Duration::from_secs(5);

/// From side a to side b.
pub struct Inside {
    from: UdpSocket,
    to: UdpSocket,
}

impl Inside {
    pub fn new(net: &Net) -> Inside {
        let to = visit(&net.b.netns, || UdpSocket::bind((net.b.address, 9_000)).unwrap());
        setsockopt(&to, sockopt::IpRecvTos, &true).unwrap();
        // No packet of a burst is lost for want of room.
        setsockopt(&to, sockopt::RcvBufForce, &(8 << 20)).unwrap();
        to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Inside { from: visit(&net.a.netns, || UdpSocket::bind((net.a.address, 0)).unwrap()), to }
    }

    pub fn send(&self, class: u8, payload: &[u8]) {
        self.send_to(self.to.local_addr().unwrap(), class, payload);
    }

    /// Sends to somebody else in the tunnel.
    pub fn send_to(&self, to: SocketAddr, class: u8, payload: &[u8]) {
        relay::send(&self.from, payload, to, class);
    }

    /// Class and payload of what arrives next, which is called `what`.
    pub fn receive(&self, what: &str) -> (u8, Vec<u8>) {
        let mut received: Option<(Vec<u8>, SocketAddr, u8)> = None;
        wait(what, SOON, || {
            received = relay::receive(&self.to);
            received.is_some()
        });
        let (payload, _, class) = received.unwrap();
        (class, payload)
    }
}
