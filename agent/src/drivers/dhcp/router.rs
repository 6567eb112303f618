//! Router advertisements (RFC 4861): whether routers say that there is DHCPv6, who resolves names (RFC 8106), and where a
//! captive portal is (RFC 8910). Addresses and routes are the kernel's part.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, recvmsg, sendto,
    setsockopt, socket, sockopt,
};
use pathsteer_agent_core::{Lease, Lender};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    time::timeout,
};

use super::{RETRY, Uplink, v4::url_of};
use crate::sys::clock;

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// RTR_SOLICITATION_INTERVAL and MAX_RTR_SOLICITATIONS of RFC 4861. Who was told before need not be told again: the
/// kernel asks by itself when a link comes up, we ask because an agent may begin long after that.
const ASK_AGAIN: Duration = Duration::from_secs(4);
const ASK_TIMES: usize = 3;
/// How long at most until what has expired is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// Lifetime of a captive portal's address, which has none of its own: that of the longest pause between advertisements
/// (MaxRtrAdvInterval, RFC 4861) three times.
const PORTAL_LIFETIME: Duration = Duration::from_secs(3 * 1_800);

/// What the last advertisement said of DHCPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// M: it gives addresses.
    pub managed: bool,
    /// O: it tells who resolves names.
    pub other: bool,
}

/// What an advertisement says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Advertisement {
    flags: Flags,
    /// Each with its lifetime in seconds; 0 takes it back.
    resolvers: Vec<(Ipv6Addr, u32)>,
    portal: Option<String>,
}

/// What has been said and still holds.
#[derive(Default)]
struct Heard {
    /// By the address of the resolver, in the order in which they were heard of.
    resolvers: Vec<(Ipv6Addr, Duration)>,
    portal: Option<(String, Duration)>,
}

pub async fn listen_for_ever(uplink: &Uplink, flags: &watch::Sender<Flags>) {
    loop {
        if let Err(error) = listen(uplink, flags).await {
            tracing::debug!(slot = uplink.spec.slot, link = uplink.spec.link, %error, "router advertisements");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen(uplink: &Uplink, flags: &watch::Sender<Flags>) -> io::Result<()> {
    let socket = open(uplink.card.index)?;
    let mut heard = Heard::default();
    let mut told: Option<Lease> = None;
    let (mut questions, mut next_question) = (ASK_TIMES, Duration::ZERO);
    loop {
        let now = clock::since_boot();
        if questions > 0 && next_question <= now {
            // that there is no address yet to ask from is no reason not to listen
            let _ = ask(&socket, uplink.card.index);
            (questions, next_question) = (questions - 1, now + ASK_AGAIN);
        }
        if let Ok(message) = timeout(LOOK, receive(&socket)).await {
            let Some(said) = read(&message?) else { continue };
            questions = 0;
            heard.take(&said, clock::since_boot());
            flags.send_if_modified(|flags| std::mem::replace(flags, said.flags) != said.flags);
        }
        // Before a router is heard nothing is taken back: what was lent before an agent restarted has an end of its own.
        let lease = heard.lease(clock::since_boot());
        if lease != told {
            if !alike(told.as_ref(), lease.as_ref()) {
                let resolvers = lease.as_ref().map(|lease| &lease.resolvers);
                tracing::info!(slot = uplink.spec.slot, ?resolvers, "routers say");
            }
            uplink.tell(Lender::Router, lease.clone());
            told = lease;
        }
    }
}

/// Alike but for their ends.
fn alike(a: Option<&Lease>, b: Option<&Lease>) -> bool {
    let without = |lease: Option<&Lease>| lease.map(|lease| Lease { expires: Duration::ZERO, ..lease.clone() });
    without(a) == without(b)
}

impl Heard {
    fn take(&mut self, said: &Advertisement, now: Duration) {
        let lifetimes: BTreeMap<Ipv6Addr, u32> = said.resolvers.iter().copied().collect();
        for (address, until) in &mut self.resolvers {
            if let Some(seconds) = lifetimes.get(address) {
                *until = now + Duration::from_secs((*seconds).into());
            }
        }
        for (address, seconds) in &said.resolvers {
            if !self.resolvers.iter().any(|(known, _)| known == address) {
                self.resolvers.push((*address, now + Duration::from_secs((*seconds).into())));
            }
        }
        if let Some(portal) = &said.portal {
            self.portal = Some((portal.clone(), now + PORTAL_LIFETIME));
        }
    }

    /// What holds now; nothing if there is nothing.
    fn lease(&mut self, now: Duration) -> Option<Lease> {
        self.resolvers.retain(|(_, until)| *until > now);
        self.portal = self.portal.take().filter(|(_, until)| *until > now);
        let ends = self.resolvers.iter().map(|(_, until)| *until).chain(self.portal.iter().map(|(_, until)| *until));
        Some(Lease {
            address: None,
            gateway: None,
            expires: ends.max()?,
            resolvers: self.resolvers.iter().map(|(address, _)| IpAddr::V6(*address)).collect(),
            captive_portal: self.portal.as_ref().map(|(portal, _)| portal.clone()),
        })
    }
}

/// A raw socket that hears advertisements on the card with this index.
fn open(index: u32) -> io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    // RFC 4861 takes nothing that a router may have forwarded
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    // `struct icmp6_filter` of RFC 3542: a set bit keeps that type out
    let mut filter = [u32::MAX; 8];
    filter[usize::from(ADVERTISEMENT) / 32] &= !(1 << (ADVERTISEMENT % 32));
    let hops: libc::c_int = 255;
    let ok = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let fd = socket.as_raw_fd();
    // SAFETY: the values live through the calls, which are told their sizes. ICMP6_FILTER is 1 (linux/icmpv6.h).
    unsafe {
        ok(libc::setsockopt(fd, libc::IPPROTO_ICMPV6, 1, filter.as_ptr().cast(), size_of_val(&filter) as u32))?;
        let level = libc::IPPROTO_IPV6;
        ok(libc::setsockopt(
            fd,
            level,
            libc::IPV6_MULTICAST_HOPS,
            (&raw const hops).cast(),
            size_of_val(&hops) as u32,
        ))?;
    }
    bind(fd, &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, index)))?;
    // the card alone, not every link of the namespace
    let name = nix::net::if_::if_indextoname(index)?;
    let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
    setsockopt(&socket, sockopt::BindToDevice, &std::ffi::OsStr::to_owned(name))?;
    // SAFETY: an OwnedFd keeps its descriptor until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? })
}

fn ask(socket: &AsyncFd<std::os::fd::OwnedFd>, index: u32) -> io::Result<()> {
    let to = SockaddrIn6::from(SocketAddrV6::new(ALL_ROUTERS, 0, 0, index));
    // the kernel fills in the checksum
    sendto(socket.get_ref().as_raw_fd(), &[SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &to, MsgFlags::empty())?;
    Ok(())
}

/// The next message that a neighbour itself has sent.
async fn receive(socket: &AsyncFd<std::os::fd::OwnedFd>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 2_048];
    let mut control = nix::cmsg_space!(libc::c_int);
    loop {
        let mut ready = socket.readable().await?;
        let received = ready.try_io(|socket| {
            let mut parts = [io::IoSliceMut::new(&mut buffer)];
            let received = recvmsg::<SockaddrIn6>(
                socket.get_ref().as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::empty(),
            )?;
            let neighbour = received.address.is_some_and(|from| from.ip().is_unicast_link_local());
            let hops = received.cmsgs()?.any(|one| matches!(one, ControlMessageOwned::Ipv6HopLimit(255)));
            Ok((received.bytes, neighbour && hops))
        });
        match received {
            Ok(Ok((length, true))) => return Ok(buffer[..length].to_vec()),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

/// What an ICMPv6 message advertises; nothing if it is none or is cut short.
fn read(message: &[u8]) -> Option<Advertisement> {
    const RESOLVERS: u8 = 25;
    const PORTAL: u8 = 37;
    if message.len() < 16 || message[0] != ADVERTISEMENT || message[1] != 0 {
        return None;
    }
    let flags = Flags { managed: message[5] & 0x80 != 0, other: message[5] & 0x40 != 0 };
    let mut said = Advertisement { flags, ..Advertisement::default() };
    let mut options = &message[16..];
    while let [kind, units, ..] = options {
        // lengths are in units of 8 bytes; an option without length would never end
        let length = usize::from(*units) * 8;
        let option = options.get(..length).filter(|_| length > 0)?;
        if *kind == RESOLVERS && length >= 24 {
            let seconds = u32::from_be_bytes(option[4..8].try_into().ok()?);
            for address in option[8..].chunks_exact(16) {
                said.resolvers.push((Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?), seconds));
            }
        }
        if *kind == PORTAL {
            said.portal = std::str::from_utf8(&option[2..]).ok().and_then(url_of);
        }
        options = &options[length..];
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u8, options: &[u8]) -> Vec<u8> {
        [&[ADVERTISEMENT, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0], options].concat()
    }

    fn resolver(seconds: u8, last: u8) -> Vec<u8> {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfe, 0x80, last);
        [&[25, 3, 0, 0, 0, 0, 0, seconds][..], &address].concat()
    }

    #[test]
    fn an_advertisement_tells_flags_resolvers_and_the_portal() {
        let portal = [&[37, 3][..], b"https://p.example/abc\0"].concat();
        let said = read(&message(0xc0, &[resolver(30, 1), portal].concat())).unwrap();
        assert_eq!(said.flags, Flags { managed: true, other: true });
        assert_eq!(said.resolvers, [("fe80::1".parse().unwrap(), 30)]);
        assert_eq!(said.portal.as_deref(), Some("https://p.example/abc"));
        assert_eq!(read(&message(0, &[])), Some(Advertisement::default()));
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        let whole = message(0x80, &resolver(30, 1));
        for length in (0..whole.len()).filter(|length| *length != 16) {
            let said = read(&whole[..length]);
            assert!(said.is_none_or(|said| said.resolvers.is_empty()), "of {length} bytes");
        }
        assert_eq!(read(&message(0, &[25, 0, 0, 0, 0, 0, 0, 0])), None, "without an end");
    }

    #[test]
    fn a_resolver_is_one_until_its_lifetime_ends_or_its_router_takes_it_back() {
        let second = Duration::from_secs;
        let mut heard = Heard::default();
        let mut at = |now: u64, said: &[Vec<u8>]| {
            if let Some(said) = read(&message(0, &said.concat())) {
                heard.take(&said, second(now));
            }
            heard.lease(second(now)).map(|lease| (lease.resolvers.len(), lease.expires))
        };
        assert_eq!(at(0, &[resolver(30, 1), resolver(20, 2)]), Some((2, second(30))));
        assert_eq!(at(19, &[]), Some((2, second(30))));
        assert_eq!(at(20, &[]), Some((1, second(30))));
        assert_eq!(at(25, &[resolver(30, 1)]), Some((1, second(55))));
        assert_eq!(at(26, &[resolver(0, 1)]), None);
    }
}
