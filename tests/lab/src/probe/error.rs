//! What routers and hosts answer to a packet they do not carry on: ICMP errors, as the kernel hands them to a socket.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt, sockopt};

use crate::clock;
use crate::host::Host;
use crate::shape::{self, Discovery};
use crate::traffic::{Marker, socket};

/// An ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathError {
    /// Who sent it.
    pub from: IpAddr,
    /// Type and code, which are different in the two families.
    pub kind: u8,
    pub code: u8,
    /// The MTU of the next hop, where the packet was too large for it.
    pub mtu: Option<u32>,
}

/// A UDP socket that hears of errors.
#[derive(Debug)]
pub struct Prober {
    socket: UdpSocket,
}

impl Prober {
    /// # Errors
    /// When the address is not to be had.
    pub fn open(host: &Host, local: IpAddr, discovery: Discovery) -> Result<Prober> {
        let socket = host.net.run(|| UdpSocket::bind((local, 0)).with_context(|| format!("binding UDP {local}")))?;
        if local.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        shape::set_discovery(&socket, discovery)?;
        Ok(Prober { socket })
    }

    /// How many hops what is sent may take.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_hops(&self, hops: u8) -> Result<()> {
        shape::set_hops(&self.socket, hops)
    }

    /// Sends one packet of `size` bytes, IP header and all.
    ///
    /// # Errors
    /// When it is too short for its headers, or the kernel refuses it, as one longer than what it knows of the path.
    pub fn send(&self, to: SocketAddr, size: usize) -> Result<()> {
        let headers = if to.is_ipv4() { 28 } else { 48 };
        ensure!(size >= headers, "{size} bytes have no room for headers");
        let mut payload = Marker::SURVIVABLE.bytes().to_vec();
        payload.resize(size - headers, 0x5a);
        self.socket.send_to(&payload, to).with_context(|| format!("sending {size} bytes to {to}"))?;
        Ok(())
    }

    /// The first error about what was sent to `to` that comes until `deadline`.
    ///
    /// # Errors
    /// When the kernel does not say what it was.
    pub fn error(&self, to: SocketAddr, deadline: Duration) -> Result<Option<PathError>> {
        loop {
            let left = deadline.saturating_sub(clock::now());
            // An error wakes whoever polls, whatever he asked for.
            let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: 0, revents: 0 };
            // SAFETY: one pollfd, alive until the call returns.
            unsafe { libc::poll(&mut poll, 1, left.as_millis() as i32) };
            if poll.revents & libc::POLLERR != 0 {
                let (about, error) = self.read()?;
                if about == to {
                    return Ok(Some(error));
                }
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// The next error, and where the packet it is about was going.
    fn read(&self) -> Result<(SocketAddr, PathError)> {
        let mut bytes = [0; 128];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
        let flags = MsgFlags::MSG_ERRQUEUE;
        let message = recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let error = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, Some(from)) => {
                Some((error, IpAddr::from(u32::from_be(from.sin_addr.s_addr).to_be_bytes())))
            }
            ControlMessageOwned::Ipv6RecvErr(error, Some(from)) => {
                Some((error, IpAddr::from(SockaddrIn6::from(from).ip())))
            }
            _ => None,
        });
        let (error, from) = error.context("the kernel does not say who complained")?;
        // Where no MTU is told, the kernel leaves 0.
        let mtu = (error.ee_info > 0).then_some(error.ee_info);
        let about = message.address.as_ref().and_then(socket::address).context("the kernel does not say about what")?;
        Ok((about, PathError { from, kind: error.ee_type, code: error.ee_code, mtu }))
    }
}
