//! The same objects without the product: by raw netlink and by `ip -batch`. Neither looks whether they are there.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_crds::ownership::ROUTE_PROTOCOL;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use super::netlink::{Message, Socket, attribute, link_header};
use super::objects::Quad;
use crate::node::leak;

/// Attributes of <linux/if_link.h>, <linux/veth.h>, <linux/if_addr.h>, <linux/rtnetlink.h>, <linux/fib_rules.h>.
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TABLE: u8 = 1;
/// Links to be deleted together.
const GROUP: u32 = 77;
/// Where numbers of more than eight bits do not fit the header.
const ELSEWHERE: u8 = 0;

const NEW: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Two namespaces, and a socket in each.
pub struct Others {
    here: Host,
    there: Host,
    sockets: [Socket; 2],
}

impl Others {
    /// # Errors
    /// Needs root.
    pub fn new(name: &str) -> Result<Others> {
        let host = |letter: &str| {
            let host = Host::new(leak(&format!("{name}-{letter}")))?;
            host.publish()?;
            Ok::<_, anyhow::Error>(host)
        };
        let (here, there) = (host("h")?, host("t")?);
        let sockets = [Socket::open(&here.net)?, Socket::open(&there.net)?];
        Ok(Others { here, there, sockets })
    }

    /// Makes `count` of every noun with `at_a_time` messages in a system call, each acknowledged. Numbers of links are
    /// chosen here, so that nothing has to be asked for.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn by_netlink(&mut self, count: usize, at_a_time: usize) -> Result<Duration> {
        use std::os::fd::AsRawFd;
        let there = self.there.net.file().as_raw_fd();
        let all = Quad::first(count);
        let [here, far] = &mut self.sockets;
        let begin = clock::now();
        here.carry_out(all.clone().map(|quad| new_veth(quad, there)), at_a_time)?;
        far.carry_out(all.clone().map(|quad| set_up(quad.index())), at_a_time)?;
        here.carry_out(all.clone().map(new_address), at_a_time)?;
        here.carry_out(all.clone().map(new_route), at_a_time)?;
        here.carry_out(all.map(|quad| rule(libc::RTM_NEWRULE, NEW, quad)), at_a_time)?;
        Ok(clock::now() - begin)
    }

    /// The same by one `ip -batch` for each namespace.
    ///
    /// # Errors
    /// The first line that fails.
    pub fn by_batch(&self, count: usize) -> Result<Duration> {
        let (mut here, mut there) = (String::new(), String::new());
        for quad in Quad::first(count) {
            let (link, peer) = (quad.link(), quad.peer());
            let _ = writeln!(here, "link add {link} up type veth peer name {peer} netns {}", self.there.name);
            let _ = writeln!(here, "address add {} dev {link}", quad.address());
            let _ = writeln!(there, "link set {peer} up");
        }
        for quad in Quad::first(count) {
            let (link, table, (mark, mask)) = (quad.link(), quad.table(), quad.mark());
            let (destination, source) = (quad.destination(), quad.address().addr());
            let _ = writeln!(
                here,
                "route add {destination} dev {link} src {source} table {table} metric 10 proto {ROUTE_PROTOCOL}\n\
                 rule add priority {table} fwmark {mark:#x}/{mask:#x} lookup {table}"
            );
        }
        let begin = clock::now();
        self.here.ip(&here)?;
        self.there.ip(&there)?;
        Ok(clock::now() - begin)
    }

    /// Takes all of it away again, links together: one after the other they take seconds.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn clear(&mut self, count: usize) -> Result<()> {
        let marked = self.here.output("ip", &["-o", "link", "show", "type", "veth"])?.lines().count();
        ensure!(marked == count, "{marked} links instead of {count}");
        self.here.ip(&Quad::first(count)
            .map(|quad| format!("link set {} group {GROUP}\n", quad.link()))
            .collect::<String>())?;
        let [here, _] = &mut self.sockets;
        let group = Message::new(libc::RTM_DELLINK, 0, &link_header(0, 0)).attribute(IFLA_GROUP, &GROUP.to_ne_bytes());
        here.carry_out(std::iter::once(group), 1)?;
        here.carry_out(Quad::first(count).map(|quad| rule(libc::RTM_DELRULE, 0, quad)), 1)
    }
}

/// A pair whose end here comes up at once; the other end cannot, being made first.
fn new_veth(quad: Quad, there: i32) -> Message {
    let name = |text: String| [text.as_bytes(), &[0]].concat();
    let mut peer = link_header(quad.index(), 0);
    attribute(&mut peer, IFLA_IFNAME, &name(quad.peer()));
    attribute(&mut peer, IFLA_NET_NS_FD, &there.to_ne_bytes());
    let (mut data, mut info) = (Vec::new(), Vec::new());
    attribute(&mut data, VETH_INFO_PEER, &peer);
    attribute(&mut info, IFLA_INFO_KIND, b"veth\0");
    attribute(&mut info, IFLA_INFO_DATA, &data);
    Message::new(libc::RTM_NEWLINK, NEW, &link_header(quad.index(), libc::IFF_UP as u32))
        .attribute(IFLA_IFNAME, &name(quad.link()))
        .attribute(IFLA_LINKINFO, &info)
}

fn set_up(index: i32) -> Message {
    Message::new(libc::RTM_SETLINK, 0, &link_header(index, libc::IFF_UP as u32))
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn new_address(quad: Quad) -> Message {
    let (address, index) = (quad.address().addr().octets(), quad.index().to_ne_bytes());
    let header = [&[libc::AF_INET as u8, quad.address().prefix_len(), 0, libc::RT_SCOPE_UNIVERSE][..], &index].concat();
    Message::new(libc::RTM_NEWADDR, NEW, &header).attribute(IFA_LOCAL, &address).attribute(IFA_ADDRESS, &address)
}

/// `struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
fn new_route(quad: Quad) -> Message {
    let length = quad.destination().prefix_len();
    let (scope, kind) = (libc::RT_SCOPE_LINK, libc::RTN_UNICAST);
    let header = [libc::AF_INET as u8, length, 0, 0, ELSEWHERE, ROUTE_PROTOCOL, scope, kind, 0, 0, 0, 0];
    Message::new(libc::RTM_NEWROUTE, NEW, &header)
        .attribute(RTA_DST, &quad.destination().addr().octets())
        .attribute(RTA_TABLE, &quad.table().to_ne_bytes())
        .attribute(RTA_PRIORITY, &10_u32.to_ne_bytes())
        .attribute(RTA_OIF, &quad.index().to_ne_bytes())
        .attribute(RTA_PREFSRC, &quad.address().addr().octets())
}

/// `struct fib_rule_hdr`: family, lengths, TOS, table, two reserved, action, flags.
fn rule(kind: u16, flags: i32, quad: Quad) -> Message {
    let (mark, mask) = quad.mark();
    let header = [libc::AF_INET as u8, 0, 0, 0, ELSEWHERE, 0, 0, FR_ACT_TO_TABLE, 0, 0, 0, 0];
    Message::new(kind, flags, &header)
        .attribute(FRA_PRIORITY, &quad.table().to_ne_bytes())
        .attribute(FRA_FWMARK, &mark.to_ne_bytes())
        .attribute(FRA_FWMASK, &mask.to_ne_bytes())
        .attribute(FRA_TABLE, &quad.table().to_ne_bytes())
}
