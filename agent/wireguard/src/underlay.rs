//! The UDP socket of a device, born where the WAN is: datagrams in batches, each with its congestion mark.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use gotatun::packet::Packet;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockFlag, SockType,
    SockaddrIn, SockaddrIn6, SockaddrStorage, bind, recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;

use crate::device::Pool;
use crate::ecn::Ecn;
use crate::netns::{Netns, NetnsId};
use crate::train;

/// Bytes the kernel may queue on the socket in each direction: 20 ms at 1.6 Gb/s, so that a worker that does not get
/// the CPU for that long loses nothing.
const SOCKET_BUFFER: usize = 4 << 20;
/// Messages sent per system call.
const BATCH: usize = 64;
/// Messages received per system call: each may be a whole train, and the first packet waits for the last to be copied.
const RECEIVED: usize = 8;
/// The largest message: the kernel hands over up to 64 KiB of one flow's datagrams in one piece (UDP GRO).
const MAX_MESSAGE: usize = 65_535;

/// A UDP datagram to or from a peer.
pub(crate) struct Datagram {
    pub packet: Packet,
    pub peer: SocketAddr,
    /// Of its IP header.
    pub ecn: Ecn,
}

/// A bound socket, dual-stack where the namespace has IPv6.
pub(crate) struct Underlay {
    netns: NetnsId,
    socket: UdpSocket,
    is_ipv6: bool,
    unreachable: Mutex<BTreeSet<SocketAddr>>,
}

/// Where messages are received to, again and again.
pub(crate) struct Inbox(Vec<Vec<u8>>);

impl Inbox {
    pub(crate) fn new() -> Inbox {
        // Pages that are never written to cost nothing.
        Inbox((0..RECEIVED).map(|_| vec![0; MAX_MESSAGE]).collect())
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
        let (socket, is_ipv6) = namespace.visit(|| open_socket(port))?;
        let _runtime = Handle::current().enter();
        let socket = UdpSocket::from_std(socket)?;
        Ok(Underlay { netns: namespace.id()?, socket, is_ipv6, unreachable: Mutex::default() })
    }

    /// Which namespace the socket is in.
    pub(crate) fn netns(&self) -> NetnsId {
        self.netns
    }

    /// The port in use.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    /// Addresses to which something could not be sent since the last call, for want of a route as a rule.
    pub(crate) fn take_unreachable(&self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut *self.unreachable.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends all of `datagrams`, in their order, and leaves none. One that cannot be sent is lost, as on the way, and
    /// no other with it.
    pub(crate) async fn send(&self, datagrams: &mut Vec<Datagram>) {
        // One system call takes one mark and one size to cut to, and the kernel wants the mark by another name per
        // family.
        let form = |train: &[Datagram]| (train[0].ecn, train[0].peer.is_ipv4(), train::segment(train));
        let trains = train::couple(datagrams);
        for run in trains.chunk_by(|a, b| form(a) == form(b)).flat_map(|run| run.chunks(BATCH)) {
            let mut rest = run;
            while !rest.is_empty() {
                match self.socket.async_io(Interest::WRITABLE, || self.send_run(rest)).await {
                    Ok(sent) => rest = &rest[sent..],
                    Err(_) => {
                        self.send_singly(rest[0]).await;
                        rest = &rest[1..];
                    }
                }
            }
        }
        datagrams.clear();
    }

    /// Sends the datagrams of a train that the kernel refused: it does not cut up what the WAN has no room for without
    /// fragments, nor what a driver cannot.
    async fn send_singly(&self, train: &[Datagram]) {
        for single in train.chunks(1) {
            if self.socket.async_io(Interest::WRITABLE, || self.send_run(&[single])).await.is_err() {
                let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
                unreachable.insert(single[0].peer);
            }
        }
    }

    /// Sends as many of these trains as the kernel takes, at least one; they share a mark, a family and what they are
    /// cut into.
    ///
    /// # Errors
    /// The first cannot be sent.
    fn send_run(&self, trains: &[&[Datagram]]) -> io::Result<usize> {
        let Datagram { peer, ecn, .. } = &trains[0][0];
        let (class, class6) = (ecn.class(), i32::from(ecn.class()));
        let mark = match ecn {
            Ecn::NotEct => None,
            _ if peer.is_ipv4() => Some(ControlMessage::Ipv4Tos(&class)),
            _ => Some(ControlMessage::Ipv6TClass(&class6)),
        };
        let segment = train::segment(trains[0]);
        let cut = segment.as_ref().map(ControlMessage::UdpGsoSegments);
        let control: Vec<ControlMessage> = mark.into_iter().chain(cut).collect();
        let peers: Vec<Option<SockaddrStorage>> = trains.iter().map(|train| Some(self.to(train[0].peer))).collect();
        let slices: Vec<Vec<IoSlice>> =
            trains.iter().map(|train| train.iter().map(|datagram| IoSlice::new(&datagram.packet)).collect()).collect();
        // Each takes as much as an int does, and room that nothing fills would be read as one more.
        let space = (!control.is_empty()).then(|| cmsg_space!(i32).repeat(control.len()));
        let mut headers = MultiHeaders::preallocate(trains.len(), space);
        let sent = sendmmsg(self.fd(), &mut headers, &slices, &peers[..], &control, MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
    }

    /// Waits for datagrams and adds them to `datagrams`, in the order in which they came.
    ///
    /// # Errors
    /// What the kernel says about the socket.
    pub(crate) async fn receive(
        &self,
        inbox: &mut Inbox,
        pool: &Pool,
        datagrams: &mut Vec<Datagram>,
    ) -> io::Result<()> {
        self.socket.async_io(Interest::READABLE, || self.receive_batch(inbox, pool, datagrams)).await
    }

    fn receive_batch(&self, inbox: &mut Inbox, pool: &Pool, to: &mut Vec<Datagram>) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut; 1]> = inbox.0.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(RECEIVED, Some(cmsg_space!(i32, i32, i32)));
        for message in recvmmsg(self.fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)? {
            let (Some(peer), Some(bytes)) = (message.address.as_ref().and_then(from), message.iovs().next()) else {
                continue;
            };
            let (ecn, segment) = told(&message)?;
            for bytes in bytes.chunks(segment.unwrap_or(MAX_MESSAGE)) {
                let mut packet = pool.get();
                packet.buf_mut().clear();
                packet.buf_mut().extend_from_slice(bytes);
                to.push(Datagram { packet, peer, ecn });
            }
        }
        Ok(())
    }

    /// An address as this socket takes it: IPv4 is mapped into IPv6 where the socket is of both.
    fn to(&self, peer: SocketAddr) -> SockaddrStorage {
        match peer {
            SocketAddr::V4(peer) if self.is_ipv6 => {
                SocketAddrV6::new(peer.ip().to_ipv6_mapped(), peer.port(), 0, 0).into()
            }
            peer => peer.into(),
        }
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A socket in the calling thread's namespace, and whether it is one of both families.
fn open_socket(port: u16) -> io::Result<(std::net::UdpSocket, bool)> {
    let open = |family| {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        socket(family, SockType::Datagram, flags, None).map(std::net::UdpSocket::from)
    };
    let (socket, is_ipv6) = match open(AddressFamily::Inet6) {
        Ok(socket) => (socket, true),
        Err(Errno::EAFNOSUPPORT) => (open(AddressFamily::Inet)?, false),
        Err(errno) => return Err(errno.into()),
    };
    // A tunnel's MTU may exceed what the WAN takes once WireGuard has added its own: its datagrams are then cut up on
    // the way (RFC 791), and in IPv6 by us. Without this the kernel would forbid that and tell nobody.
    set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    setsockopt(&socket, sockopt::IpRecvTos, &true)?;
    if is_ipv6 {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
        setsockopt(&socket, sockopt::Ipv6RecvTClass, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)))?;
    } else {
        bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    }
    // Works without, only slower: in kernels before 5.0.
    let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
    // The plain options stop at net.core.rmem_max, 208 KiB by default; the forced ones need CAP_NET_ADMIN, without
    // which the socket works with what it has.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER);
    let _ = setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER);
    Ok((socket, is_ipv6))
}

fn set_option(socket: &std::net::UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is an int, read during the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    Ok(Errno::result(result).map(drop)?)
}

/// Who sent it, with IPv4 as IPv4.
fn from(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::from(*address));
    }
    let address = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    Some(match address.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::from((ip, address.port())),
        None => address.into(),
    })
}

/// What the kernel tells of a message besides: its mark, and the length of each datagram if it holds several.
fn told(message: &RecvMsg<SockaddrStorage>) -> io::Result<(Ecn, Option<usize>)> {
    let (mut ecn, mut segment) = (Ecn::NotEct, None);
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4Tos(class) => ecn = Ecn::of_class(class),
            ControlMessageOwned::Ipv6TClass(class) => ecn = Ecn::of_class(class as u8),
            ControlMessageOwned::UdpGroSegments(bytes) => segment = usize::try_from(bytes).ok().filter(|&b| b > 0),
            _ => {}
        }
    }
    Ok((ecn, segment))
}

#[cfg(test)]
mod tests;
