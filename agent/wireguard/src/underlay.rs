//! The UDP socket of a device, born where the WAN is.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotatun::packet::Packet;
use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpSend, UdpTransportFactory, UdpTransportFactoryParams};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::runtime::Handle;

use crate::netns::{Netns, NetnsId};

/// Bytes the kernel may queue on the socket in each direction: 20 ms at 1.6 Gb/s, so that a worker that does not get
/// the CPU for that long loses nothing.
const SOCKET_BUFFER: usize = 4 << 20;

/// A bound socket, dual-stack where the namespace has IPv6.
pub(crate) struct Underlay {
    netns: NetnsId,
    socket: UdpSocket,
    unreachable: Unreachable,
}

/// Addresses to which a packet could not be sent, for want of a route as a rule. gotatun itself takes such a packet
/// for one that was lost on the way.
#[derive(Clone, Default)]
pub(crate) struct Unreachable(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Unreachable {
    /// The addresses since the last call.
    pub(crate) fn take(&self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut *self.addresses())
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underlay {
    /// Binds `port` on all addresses of the namespace called `netns`; 0 takes a free one. Must be called in the
    /// runtime.
    ///
    /// # Errors
    /// There is no such namespace; the port is in use (`AddrInUse`).
    pub(crate) fn open(netns: &str, port: u16) -> io::Result<Underlay> {
        let namespace = Netns::open(netns)?;
        let runtime = Handle::current();
        let params = UdpTransportFactoryParams { addr: None, port, fwmark: None };
        let mut factory =
            UdpSocketFactory { recv_buffer_size: Some(SOCKET_BUFFER), send_buffer_size: Some(SOCKET_BUFFER) };
        let (socket, _) = namespace.visit(|| runtime.block_on(factory.bind(&params)))?;
        // The plain options stop at net.core.rmem_max, 208 KiB by default; the forced ones need CAP_NET_ADMIN, without
        // which the socket works with what it has.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER);
        Ok(Underlay { netns: namespace.id()?, socket, unreachable: Unreachable::default() })
    }

    /// Which namespace the socket is in.
    pub(crate) fn netns(&self) -> NetnsId {
        self.netns
    }

    /// Where the socket cannot send to.
    pub(crate) fn unreachable(&self) -> Unreachable {
        self.unreachable.clone()
    }
}

impl UdpTransportFactory for Underlay {
    type Send = UnderlaySender;
    type Recv = UdpSocket;

    /// The one socket again, however often the device is set up: its port is never free in between.
    async fn bind(&mut self, _: &UdpTransportFactoryParams) -> io::Result<(UnderlaySender, UdpSocket)> {
        let sender = UnderlaySender { socket: self.socket.clone(), unreachable: self.unreachable.clone() };
        Ok((sender, self.socket.clone()))
    }
}

/// Sends, and notes where it could not.
#[derive(Clone)]
pub(crate) struct UnderlaySender {
    socket: UdpSocket,
    unreachable: Unreachable,
}

impl UdpSend for UnderlaySender {
    type SendManyBuf = <UdpSocket as UdpSend>::SendManyBuf;

    async fn send_to(&self, packet: Packet, destination: SocketAddr) -> io::Result<()> {
        let sent = self.socket.send_to(packet, destination).await;
        if sent.is_err() {
            self.unreachable.addresses().insert(destination);
        }
        sent
    }

    fn max_number_of_packets_to_send(&self) -> usize {
        self.socket.max_number_of_packets_to_send()
    }

    async fn send_many_to(
        &self,
        buffer: &mut Self::SendManyBuf,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let sent = self.socket.send_many_to(buffer, packets).await;
        if sent.is_err() {
            // Which of them failed is not told.
            self.unreachable.addresses().extend(packets.iter().map(|(_, destination)| *destination));
        }
        sent
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        UdpSend::local_addr(&self.socket)
    }

    fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.socket.set_fwmark(mark)
    }
}
