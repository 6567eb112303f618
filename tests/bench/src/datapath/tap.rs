//! A socket that sees the frames of an interface with the kernel's own time of arrival.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use std::os::fd::AsFd;

/// Bytes kept of a frame: more than a measured packet has with everything around it.
const SNAP: usize = 512;

/// The clock that frames are stamped by.
pub fn wall_clock() -> Duration {
    // CLOCK_REALTIME exists on every Linux: the call has no way to fail
    clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default()
}

/// A frame.
pub struct Frame {
    /// When it came, by [`wall_clock`].
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// The socket.
pub struct Tap(OwnedFd);

impl Tap {
    /// Listens on `interface` of the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(interface: &str) -> Result<Tap> {
        let index = nix::net::if_::if_nametoindex(interface).with_context(|| format!("looking for {interface}"))?;
        // SAFETY: plain system calls on a descriptor that is ours alone; `address` outlives the call that reads it.
        let socket = unsafe {
            // protocol 0 until it is bound, so that nothing of other interfaces gets in
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("opening a packet socket");
            }
            let socket = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index as i32;
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(fd, (&raw const address).cast(), size) < 0 {
                return Err(io::Error::last_os_error()).with_context(|| format!("listening on {interface}"));
            }
            socket
        };
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Tap(socket))
    }

    /// The next frame, if one comes within `patience`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next(&self, patience: Duration) -> Result<Option<Frame>> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; SNAP];
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let got = recvmsg::<SockaddrStorage>(self.0.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let at = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let (at, length) = (at.context("a frame without its time")?, got.bytes);
        bytes.truncate(length);
        Ok(Some(Frame { at, bytes }))
    }
}
