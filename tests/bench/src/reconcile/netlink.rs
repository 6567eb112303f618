//! rtnetlink by hand, without any of the product's code: messages as bytes, and a socket that sends them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use pathsteer_lab::clock;
use pathsteer_lab::netns::Namespace;

/// Answers that wait for us; beyond it the kernel drops them.
const RECEIVE_BUFFER: usize = 8 << 20;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A request.
#[derive(Debug, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// Of this type, with these flags beside request and acknowledge, and the family's own header.
    pub fn new(kind: u16, flags: i32, header: &[u8]) -> Message {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        Message(bytes)
    }

    pub fn attribute(mut self, kind: u16, payload: &[u8]) -> Message {
        attribute(&mut self.0, kind, payload);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// Appends an attribute.
pub fn attribute(to: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    to.extend((4 + payload.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(payload);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// `struct ifinfomsg`; `flags` are set and no others touched.
pub fn link_header(index: i32, flags: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header
}

/// A netlink socket born in a namespace.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Of rtnetlink.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(netns: &Namespace) -> Result<Socket> {
        Socket::subscribed(netns, SockProtocol::NetlinkRoute, &[])
    }

    /// One that hears of `groups`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn subscribed(netns: &Namespace, protocol: SockProtocol, groups: &[u32]) -> Result<Socket> {
        let fd = netns.run(|| {
            let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            for group in groups {
                // SAFETY: the option takes a 32-bit group number.
                let result = unsafe {
                    libc::setsockopt(
                        fd.as_raw_fd(),
                        libc::SOL_NETLINK,
                        libc::NETLINK_ADD_MEMBERSHIP,
                        std::ptr::from_ref(group).cast(),
                        4,
                    )
                };
                ensure!(result == 0, "group {group}: {}", std::io::Error::last_os_error());
            }
            Ok(fd)
        })?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends `messages`, so many at a time, and waits for the acknowledgement of each.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn carry_out(&mut self, messages: impl Iterator<Item = Message>, at_a_time: usize) -> Result<()> {
        let mut messages = messages.peekable();
        let mut buffer = vec![0; 1 << 16];
        while messages.peek().is_some() {
            let (mut bytes, mut awaited) = (Vec::new(), 0);
            for message in messages.by_ref().take(at_a_time) {
                self.sequence += 1;
                bytes.extend(message.finish(self.sequence));
                awaited += 1;
            }
            send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
            while awaited > 0 {
                let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
                for (kind, body) in parse(&buffer[..length]) {
                    if i32::from(kind) == libc::NLMSG_ERROR {
                        let code = body.get(..4).context("a short acknowledgement")?;
                        match i32::from_ne_bytes(code.try_into()?) {
                            0 => awaited -= 1,
                            code => bail!("the kernel refused: {}", std::io::Error::from_raw_os_error(-code)),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for messages: type of each and what follows its header. None means that it is `deadline`.
    ///
    /// # Errors
    /// What the kernel says; that it had to drop some, too.
    pub fn await_messages(&self, deadline: Duration) -> Result<Vec<(u16, Vec<u8>)>> {
        let left = deadline.saturating_sub(clock::now());
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; 1 << 16];
        let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        Ok(parse(&buffer[..length]).map(|(kind, body)| (kind, body.to_vec())).collect())
    }
}

/// Type of each message and what follows its header.
fn parse(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(message[4..6].try_into().ok()?), &message[HEADER..]))
    })
}
