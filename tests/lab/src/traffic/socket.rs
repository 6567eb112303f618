//! Sockets with a fixed local port and room enough never to be the one that loses.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket, sockopt,
};

/// 16 MiB: more than ten seconds of a measured flow.
const BUFFER: usize = 16 << 20;
/// Position of the drop counter in SO_MEMINFO (linux/sock_diag.h: SK_MEMINFO_DROPS), and how many numbers there are.
const MEMINFO_DROPS: usize = 8;
const MEMINFO: usize = 9;

/// A UDP socket bound to `local`, in the calling thread's network namespace.
///
/// # Errors
/// When the address or port is not to be had.
pub fn udp(local: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(local).with_context(|| format!("binding UDP {local}"))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
    Ok(socket)
}

/// Datagrams that `socket` dropped since it exists: its buffer was full or their checksum wrong.
pub fn drops(socket: &impl AsRawFd) -> u32 {
    let mut info = [0_u32; MEMINFO];
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: SO_MEMINFO writes at most `size` bytes to `info`.
    unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &mut size)
    };
    info[MEMINFO_DROPS]
}

/// A TCP listener on `local`.
///
/// # Errors
/// When the address or port is not to be had.
pub fn listener(local: SocketAddr) -> Result<TcpListener> {
    let fd = bound(local)?;
    listen(&fd, Backlog::new(4)?)?;
    Ok(fd.into())
}

/// A TCP connection from `local` to `remote`.
///
/// # Errors
/// When nobody answers within `patience`.
pub fn connected(local: SocketAddr, remote: SocketAddr, patience: Duration) -> Result<TcpStream> {
    let fd = bound(local)?;
    // connect() waits as long as a send would.
    setsockopt(&fd, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(patience.as_secs() as i64, 0))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(remote)).with_context(|| format!("connecting to TCP {remote}"))?;
    Ok(fd.into())
}

fn bound(local: SocketAddr) -> Result<OwnedFd> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local)).with_context(|| format!("binding TCP {local}"))?;
    Ok(fd)
}

/// The address of a socket as the standard library has it.
pub fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
}

/// Whether an error only says that nothing came in time.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
