//! Something changed in a namespace: the wake-up of the reconciler. What changed is found by observing.

use std::{io, os::fd::AsRawFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::{Interest, unix::AsyncFd};

use super::netns::Netns;

/// Links, addresses, routes, rules of both families (`RTMGRP_*`; rules have group numbers beyond them).
const ROUTE_GROUPS: &[u32] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];
/// `NFNLGRP_NFTABLES`: any change of nft's tables.
const NFT_GROUPS: &[u32] = &[7];

/// The notification sockets of one namespace.
pub struct Monitor {
    sockets: [AsyncFd<std::os::fd::OwnedFd>; 2],
}

impl Monitor {
    /// Hears of every change in a namespace of ours.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(netns: &Netns) -> io::Result<Self> {
        Monitor::subscribed(netns, ROUTE_GROUPS, NFT_GROUPS)
    }

    /// Hears of interfaces only.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_links(netns: &Netns) -> io::Result<Self> {
        Monitor::subscribed(netns, &[libc::RTNLGRP_LINK], &[])
    }

    fn subscribed(netns: &Netns, route: &'static [u32], nft: &'static [u32]) -> io::Result<Self> {
        let [route, nft] = netns.run(|| {
            Ok([subscribe(SockProtocol::NetlinkRoute, route)?, subscribe(SockProtocol::NetlinkNetFilter, nft)?])
        })?;
        // SAFETY: an OwnedFd keeps its descriptor until it is dropped.
        let register = |socket| unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Monitor { sockets: [register(route)?, register(nft)?] })
    }

    /// Returns once something has changed, with everything notified so far taken off the sockets. An overrun is a
    /// change like any other.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn changed(&self) -> io::Result<()> {
        let [route, nft] = &self.sockets;
        let (mut guard, socket) = tokio::select! {
            guard = route.readable() => (guard?, route),
            guard = nft.readable() => (guard?, nft),
        };
        let mut buffer = [0; 8192];
        while let Ok(_) | Err(nix::errno::Errno::ENOBUFS) =
            recv(socket.get_ref().as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)
        {}
        guard.clear_ready();
        Ok(())
    }
}

fn subscribe(protocol: SockProtocol, groups: &[u32]) -> io::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    for group in groups {
        // SAFETY: the option takes a 32-bit group number.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                std::ptr::from_ref(group).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(socket)
}
