//! One rtnetlink socket inside one namespace, and requests as values.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
        NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkExtentMask, LinkMessage},
    },
};

use super::{KernelError, interface, netns::Netns};
use crate::fault;

/// What one datagram of a dump holds at most; the kernel fills no more (NETLINK_MAX_RECVMSG_LEN is 32 KiB).
const BUFFER: usize = 1 << 16;
/// The kernel does what it is asked while it takes the request, however long that is; the answer is there when it is looked
/// for. One that is not (there was no memory for it) never comes.
const SILENCE: TimeVal = TimeVal::new(5, 0);
/// A dump that others keep changing is taken anew so many times.
const TRIES: usize = 5;

/// How an object is put into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It must not exist yet.
    New,
    /// What is there is replaced.
    Replace,
}

/// A socket born in a namespace; it stays there whatever thread uses it.
///
/// A request is a system call in which the kernel does the work, and another that takes its answer: microseconds. To hand
/// it to another task and wait costs many times that, so nobody else is asked, and nothing here ever waits for long.
#[derive(Clone)]
pub struct Netlink {
    socket: Arc<Socket>,
    pub netns: Netns,
}

struct Socket {
    fd: OwnedFd,
    /// The last request's number, and room for answers.
    state: Mutex<(u32, Vec<u8>)>,
}

impl Netlink {
    /// # Errors
    /// What the kernel says.
    pub fn open(netns: &Netns) -> io::Result<Self> {
        let fd = netns.inside(|| {
            let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            setsockopt(&fd, ReceiveTimeout, &SILENCE)?;
            take_dumps_at_their_word(&fd)?;
            Ok(fd)
        })?;
        let socket = Socket { fd, state: Mutex::new((0, vec![0; BUFFER])) };
        Ok(Netlink { socket: Arc::new(socket), netns: netns.clone() })
    }

    /// Puts an object into the kernel.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn put(&self, what: &str, message: RouteNetlinkMessage, how: Put) -> Result<(), KernelError> {
        let how = match how {
            Put::New => NLM_F_CREATE | NLM_F_EXCL,
            Put::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        };
        self.acknowledged(what, message, how).await
    }

    /// Changes or removes an object.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn change(&self, what: &str, message: RouteNetlinkMessage) -> Result<(), KernelError> {
        self.acknowledged(what, message, 0).await
    }

    async fn acknowledged(&self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), KernelError> {
        fault::stepping(what)?;
        self.request(what, message, NLM_F_ACK | flags).await.map(|_| ())
    }

    /// Every object of a kind.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn dump(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        fault::looking(what)?;
        self.request(what, message, NLM_F_DUMP).await
    }

    async fn request(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = NLM_F_REQUEST | flags;
        for _ in 0..TRIES {
            match self.socket.request(&mut message).map_err(|error| KernelError::new(what, error))? {
                Answer::Whole(objects) => return Ok(objects),
                Answer::Torn => {}
            }
        }
        let torn = io::Error::other("it changed whenever it was looked at; the next turn looks again");
        Err(KernelError::new(what, torn))
    }

    /// Every interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn links(&self) -> Result<Vec<LinkMessage>, KernelError> {
        let mut all = LinkMessage::default();
        // counters make up most of an answer
        all.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let dumped = self.dump("link list", RouteNetlinkMessage::GetLink(all)).await?;
        Ok(dumped
            .into_iter()
            .filter_map(|object| match object {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .collect())
    }

    /// The interface with this name.
    ///
    /// # Errors
    /// ENODEV if there is none.
    pub async fn link(&self, ifname: &str) -> Result<LinkMessage, KernelError> {
        let mut wanted = LinkMessage::default();
        wanted.attributes.push(LinkAttribute::IfName(ifname.to_owned()));
        wanted.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let what = format!("link {ifname}");
        let answers = self.request(&what, RouteNetlinkMessage::GetLink(wanted), NLM_F_ACK).await?;
        let found = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        });
        found.ok_or_else(|| KernelError::new(what, io::Error::from_raw_os_error(libc::ENODEV)))
    }

    /// Interface names by index.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn link_names(&self) -> Result<BTreeMap<u32, String>, KernelError> {
        Ok(self.links().await?.iter().filter_map(|link| Some((link.header.index, name_of(link)?.to_owned()))).collect())
    }

    /// Name of the interface with this index; none if it is gone.
    pub fn ifname(&self, index: u32) -> Option<String> {
        interface::name_of(&self.socket.fd, index)
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// ENODEV if there is none.
    pub async fn ifindex(&self, ifname: &str) -> Result<u32, KernelError> {
        interface::index_of(&self.socket.fd, ifname).map_err(|error| KernelError::new(format!("link {ifname}"), error))
    }
}

/// What comes back.
enum Answer {
    Whole(Vec<RouteNetlinkMessage>),
    /// The kernel changed what it was dumping.
    Torn,
}

impl Socket {
    /// Sends `message` and takes what answers it, up to the kernel's last word.
    fn request(&self, message: &mut NetlinkMessage<RouteNetlinkMessage>) -> io::Result<Answer> {
        // what a panicking thread left behind is an answer that nobody waits for, and is passed over
        let (sequence, buffer) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *sequence = sequence.wrapping_add(1);
        message.header.sequence_number = *sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let (mut objects, mut torn) = (Vec::new(), false);
        loop {
            let length = recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                // messages are aligned to four bytes
                rest = rest.get((answer.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
                if answer.header.sequence_number != *sequence {
                    continue;
                }
                torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(object) => objects.push(object),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Overrun(_) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) if torn => return Ok(Answer::Torn),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(Answer::Whole(objects)),
                    _ => {}
                }
            }
        }
    }
}

/// Has the kernel heed what a dump's header asks for, such as the protocol of routes, instead of dumping everything.
fn take_dumps_at_their_word(fd: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_GET_STRICT_CHK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The name in a link message.
pub fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}
