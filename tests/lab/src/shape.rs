//! Packets of unusual shape from ordinary sockets: what hosts really send, where a forged packet would prove nothing.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::host::Host;
use crate::offload;

/// Which packets of a socket may be cut into fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Discovery {
    /// All of them: none has DF.
    Never = libc::IP_PMTUDISC_DONT,
    /// None that is longer than what the kernel knows of the path; longer ones are refused with EMSGSIZE.
    Obey = libc::IP_PMTUDISC_DO,
    /// None, and whatever the kernel knows of the path, packets are sent up to the interface's MTU.
    Probe = libc::IP_PMTUDISC_PROBE,
}

/// Sets how `socket` treats the MTU of its path.
///
/// # Errors
/// When the kernel refuses.
pub fn set_discovery(socket: &UdpSocket, discovery: Discovery) -> Result<()> {
    // In both families the values are the same (linux/in.h, linux/in6.h).
    let (level, name) = if socket.local_addr()?.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    set(socket, level, name, &(discovery as i32).to_ne_bytes())
}

/// Sets DSCP (the upper six bits) and ECN (the lower two) of what `socket` sends.
///
/// # Errors
/// When the kernel refuses.
pub fn set_traffic_class(socket: &UdpSocket, class: u8) -> Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Tos, &class.into())?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6TClass, &class.into())?,
    }
    Ok(())
}

/// Sets how many hops what `socket` sends may take.
///
/// # Errors
/// When the kernel refuses.
pub fn set_hops(socket: &UdpSocket, hops: u8) -> Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Ttl, &hops.into())?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6Ttl, &hops.into())?,
    }
    Ok(())
}

/// Gives the IPv4 packets of `socket` these header options: a multiple of 4 bytes, at most 40.
///
/// # Errors
/// When the kernel finds them malformed.
pub fn set_ip_options(socket: &UdpSocket, options: &[u8]) -> Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, options)
}

/// Gives the IPv6 packets of `socket` an extension header of destination options, whose whole padding is `filling`
/// bytes: 8 times something less 4.
///
/// # Errors
/// When the kernel finds it malformed.
pub fn set_destination_options(socket: &UdpSocket, filling: u8) -> Result<()> {
    // Next header (the kernel's to fill in), length in units of 8 after the first 8, and one PadN option (RFC 8200).
    let mut header = vec![0, (filling + 4) / 8 - 1, 1, filling];
    header.resize(usize::from(filling) + 4, 0);
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &header)
}

/// Sends `bytes` to `to` as datagrams of `size` bytes each, in one go: the kernel cuts them up as late as it can.
///
/// # Errors
/// When the kernel refuses, as for more than 64 datagrams on older ones, or 64 KiB in all.
pub fn send_segments(socket: &UdpSocket, to: SocketAddr, size: u16, bytes: &[u8]) -> Result<()> {
    let control = [ControlMessage::UdpGsoSegments(&size)];
    let to = SockaddrStorage::from(to);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&to))
        .with_context(|| format!("sending {} bytes in datagrams of {size}", bytes.len()))?;
    Ok(())
}

/// Receives a datagram into `bytes`; its length, and DSCP and ECN as they arrived.
///
/// # Errors
/// When none comes in the socket's time.
pub fn receive_with_class(socket: &UdpSocket, bytes: &mut [u8]) -> Result<(usize, u8)> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::IpRecvTos, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?,
    }
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let class = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
        _ => None,
    });
    Ok((message.bytes, class.context("the kernel did not say the traffic class")?))
}

/// From now on every TCP segment that `host` sends over `interface` has 0 as its IP ID and leaves by itself, as hosts do
/// that RFC 6864 allows it. A receiver that merges segments then takes the fixed ID over.
///
/// # Errors
/// When nft or the kernel refuses.
pub fn fix_ip_ids(host: &Host, interface: &str) -> Result<()> {
    host.net.run(|| offload::complete_frames(interface))?;
    host.ip(&format!("link set {interface} gso_max_segs 1"))?;
    host.nft(&format!(
        "table ip fixed-ids {{
            chain out {{
                type filter hook postrouting priority 300
                oifname {interface} meta l4proto tcp ip id set 0
            }}
        }}"
    ))
}

fn set(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: &[u8]) -> Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: reads `value` only, which outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("setting socket option {level}/{name}"));
    }
    Ok(())
}
