//! Something changed in a namespace: the wake-up of the reconciler. What changed is found by observing.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};
use pathsteer_crds::ownership;
use tokio::io::{Interest, unix::AsyncFd};

use super::{interface::name_of, netns::Netns};

/// Links, addresses, neighbours, filters, routes, rules of both families (`RTMGRP_*`; rules have group numbers beyond them).
const ROUTE_GROUPS: &[u32] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_TC,
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
    sockets: [OwnedFd; 2],
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
        let sockets = netns.inside(|| {
            Ok([subscribe(SockProtocol::NetlinkRoute, route)?, subscribe(SockProtocol::NetlinkNetFilter, nft)?])
        })?;
        Ok(Monitor { sockets })
    }

    /// Returns once something has changed, with everything notified so far taken off the sockets. An overrun is a
    /// change like any other.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn changed(&self) -> io::Result<()> {
        // Registered for as long as somebody waits: otherwise every notification would wake the runtime, and a turn that
        // changes hundreds of objects causes thousands.
        // SAFETY: the descriptors outlive their registrations, which end with this call.
        let register =
            |socket: &OwnedFd| unsafe { AsyncFd::register_with_interest(socket.as_raw_fd(), Interest::READABLE) };
        let [route, nft] = &self.sockets;
        let [waiting_route, waiting_nft] = [register(route)?, register(nft)?];
        let mut buffer = [0; 8192];
        let mut matters = false;
        while !matters {
            let (mut guard, socket) = tokio::select! {
                guard = waiting_route.readable() => (guard?, route),
                guard = waiting_nft.readable() => (guard?, nft),
            };
            loop {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(length) => matters |= !is_foreign_neighbour(socket, &buffer[..length]),
                    Err(Errno::ENOBUFS) => matters = true,
                    Err(_) => break,
                }
            }
            guard.clear_ready();
        }
        Ok(())
    }
}

/// Whether a notification is about a neighbour on a card: those come and go with the hosts of a LAN. Only on our own
/// links are neighbours ours.
fn is_foreign_neighbour(socket: &OwnedFd, notification: &[u8]) -> bool {
    let number = |at: usize| notification.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = notification.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    // `struct nlmsghdr` is 16 bytes long; in `struct ndmsg` the interface follows the family's four bytes
    match (kind, number(20)) {
        (Some(libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH), Some(index)) => {
            name_of(socket, index).is_some_and(|name| !name.starts_with(ownership::PREFIX))
        }
        _ => false,
    }
}

fn subscribe(protocol: SockProtocol, groups: &[u32]) -> io::Result<OwnedFd> {
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
