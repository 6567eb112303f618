//! A socket that sees every frame of an interface.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};

/// Bytes kept of each frame by default: Ethernet, IPv6 with an extension header, TCP.
const HEADERS: usize = 128;
/// The longest frame: a whole IP packet that is yet to be cut into segments.
const WHOLE: usize = 14 + 65_535;
/// Frames fetched by one system call.
const BATCH: usize = 64;
/// Room for what comes between two looks: 32 MiB, several seconds of the lab's traffic.
const BUFFER: libc::c_int = 32 << 20;

/// An AF_PACKET socket.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    /// Bytes kept of each frame.
    snap: usize,
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl PacketSocket {
    /// Listens for the headers of what is on `interface` of the calling thread's network namespace.
    ///
    /// # Errors
    /// When there is no such interface, or without CAP_NET_RAW.
    pub fn open(interface: &str) -> Result<PacketSocket> {
        PacketSocket::keeping(interface, HEADERS)
    }

    /// The same for every byte of every frame.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn open_whole(interface: &str) -> Result<PacketSocket> {
        PacketSocket::keeping(interface, WHOLE)
    }

    fn keeping(interface: &str, snap: usize) -> Result<PacketSocket> {
        let index = nix::net::if_::if_nametoindex(interface).with_context(|| format!("looking for {interface}"))?;
        let every_protocol = (libc::ETH_P_ALL as u16).to_be();
        // Protocol 0 until it is bound, so that nothing of other interfaces gets in.
        // SAFETY: plain system calls on a descriptor that is ours alone; `address` and `buffer` outlive them.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("opening a packet socket");
            }
            let fd = OwnedFd::from_raw_fd(fd);
            let buffer = BUFFER;
            let size = size_of_val(&buffer) as libc::socklen_t;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const buffer).cast(), size);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = every_protocol;
            address.sll_ifindex = index as i32;
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) < 0 {
                return Err(io::Error::last_os_error()).with_context(|| format!("listening on {interface}"));
            }
            Ok(PacketSocket { fd, snap })
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// When the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: reads `frame` only.
        let sent = unsafe { libc::send(self.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Hands every waiting frame to `each`, as many bytes as are kept, with whether this host sent it.
    pub fn drain(&self, mut each: impl FnMut(&[u8], bool)) {
        let mut frames = vec![0_u8; self.snap * BATCH];
        // SAFETY: all-zero is valid for these C structs; every pointer set below is to memory that lives to the end
        // of this function, and nothing else touches it during the call.
        unsafe {
            let mut from: [libc::sockaddr_ll; BATCH] = std::mem::zeroed();
            let mut parts: [libc::iovec; BATCH] = std::mem::zeroed();
            let mut messages: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            loop {
                for (i, frame) in frames.chunks_mut(self.snap).enumerate() {
                    parts[i] = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
                    messages[i].msg_hdr.msg_iov = &mut parts[i];
                    messages[i].msg_hdr.msg_iovlen = 1;
                    messages[i].msg_hdr.msg_name = (&raw mut from[i]).cast();
                    messages[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                }
                let flags = libc::MSG_DONTWAIT as _;
                let got =
                    libc::recvmmsg(self.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, flags, std::ptr::null_mut());
                let Ok(got) = usize::try_from(got) else { return };
                for (i, frame) in frames.chunks(self.snap).enumerate().take(got) {
                    each(&frame[..messages[i].msg_len as usize], from[i].sll_pkttype == libc::PACKET_OUTGOING);
                }
                if got < BATCH {
                    return;
                }
            }
        }
    }

    /// Frames that found no room, since the last call.
    pub fn dropped(&self) -> u32 {
        // SAFETY: PACKET_STATISTICS writes one tpacket_stats into memory of that size.
        unsafe {
            let mut statistics: libc::tpacket_stats = std::mem::zeroed();
            let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
            let pointer = (&raw mut statistics).cast();
            libc::getsockopt(self.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, pointer, &mut size);
            statistics.tp_drops
        }
    }
}
