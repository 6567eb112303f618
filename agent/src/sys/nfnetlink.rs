//! nf_tables asked directly, where running `nft` would cost too much: whether anything has changed, and what was counted.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Message types of <linux/netfilter/nf_tables.h>.
const GET_TABLE: u16 = 1;
const GET_GENERATION: u16 = 16;
const GET_OBJECT: u16 = 19;
/// Attributes of a table, of a generation and of an object.
const TABLE_NAME: u16 = 1;
const GENERATION_ID: u16 = 1;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
/// Types of objects, and the attribute of each that says how much it has counted.
const COUNTER: u32 = 1;
const COUNTER_PACKETS: u16 = 2;
const QUOTA: u32 = 2;
const QUOTA_CONSUMED: u16 = 4;

/// Sizes of `struct nlmsghdr`, `struct nfgenmsg` and `struct nlattr`.
const HEADER: usize = 16;
const GENERAL: usize = 4;
const ATTRIBUTE: usize = 4;
/// Flags of an attribute's type (NLA_F_NESTED, NLA_F_NET_BYTEORDER), which is the rest.
const ATTRIBUTE_FLAGS: u16 = 0xc000;

/// What an object of a table has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Packets(u64),
    QuotaBytes(u64),
}

/// A number that grows with every change of any nft table in the calling thread's namespace.
///
/// # Errors
/// What the kernel says.
pub fn generation() -> io::Result<u32> {
    let answer = ask(GET_GENERATION, 0)?;
    let generation = answer.iter().find_map(|body| number(attribute(body, GENERATION_ID)?));
    generation.map(|id| id as u32).ok_or_else(|| io::Error::other("the kernel tells no generation of nf_tables"))
}

/// The families (`NFPROTO_*`) that have a table called `table`.
///
/// # Errors
/// What the kernel says.
pub fn families(table: &str) -> io::Result<Vec<i32>> {
    let answer = ask(GET_TABLE, libc::NLM_F_DUMP)?;
    let named = answer.iter().filter(|body| attribute(body, TABLE_NAME).and_then(text).as_deref() == Some(table));
    Ok(named.map(|body| body.family.into()).collect())
}

/// What the counters and quotas of all tables called `table` have counted, by name.
///
/// # Errors
/// What the kernel says.
pub fn counted(table: &str) -> io::Result<Vec<(String, Counted)>> {
    let bodies = ask(GET_OBJECT, libc::NLM_F_DUMP)?;
    let of_table = bodies.iter().filter(|body| attribute(body, OBJECT_TABLE).and_then(text).as_deref() == Some(table));
    Ok(of_table.filter_map(|body| object(body)).collect())
}

fn object(body: &[u8]) -> Option<(String, Counted)> {
    let (name, data) = (text(attribute(body, OBJECT_NAME)?)?, attribute(body, OBJECT_DATA)?);
    let counted = match number(attribute(body, OBJECT_TYPE)?)? as u32 {
        COUNTER => Counted::Packets(number(attribute(data, COUNTER_PACKETS)?)?),
        QUOTA => Counted::QuotaBytes(number(attribute(data, QUOTA_CONSUMED)?)?),
        _ => return None,
    };
    Some((name, counted))
}

/// A message without its headers: attributes.
struct Body {
    family: u8,
    attributes: Vec<u8>,
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.attributes
    }
}

/// Every message that answers a request.
fn ask(kind: u16, flags: i32) -> io::Result<Vec<Body>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADER + GENERAL);
    request.extend(((HEADER + GENERAL) as u32).to_ne_bytes());
    request.extend(((libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | kind).to_ne_bytes());
    // acknowledged: so that the end of a single answer is seen too
    let flags = libc::NLM_F_REQUEST | if flags == 0 { libc::NLM_F_ACK } else { flags };
    request.extend((flags as u16).to_ne_bytes());
    request.extend([0; 8]);
    // any family, version 0, no resource
    request.extend([0; GENERAL]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut bodies = Vec::new();
    while !receive(&socket, &mut bodies)? {}
    Ok(bodies)
}

/// Takes one datagram off the socket; true after the last.
fn receive(socket: &OwnedFd, bodies: &mut Vec<Body>) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 16];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let mut rest = &buffer[..length];
    while let Some((message, next)) = cut(rest, 0, u32_at) {
        match i32::from(u16_at(message, 4)) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = message
                    .get(HEADER..HEADER + 4)
                    .map_or(-libc::EIO, |code| i32::from_ne_bytes(code.try_into().unwrap_or_default()));
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            _ => bodies.extend(
                message
                    .get(HEADER..)
                    .and_then(|body| body.split_at_checked(GENERAL))
                    .map(|(general, attributes)| Body { family: general[0], attributes: attributes.to_vec() }),
            ),
        }
        rest = next;
    }
    Ok(false)
}

/// The attribute `wanted` of `attributes`.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some((one, next)) = cut(rest, 0, |bytes, at| u16_at(bytes, at).into()) {
        if one.len() >= ATTRIBUTE && u16_at(one, 2) & !ATTRIBUTE_FLAGS == wanted {
            return Some(&one[ATTRIBUTE..]);
        }
        rest = next;
    }
    None
}

/// The first of several blocks, each of which says at `at` how long it is, and what follows at the next multiple of 4.
fn cut(blocks: &[u8], at: usize, length: impl Fn(&[u8], usize) -> u32) -> Option<(&[u8], &[u8])> {
    let length = length(blocks, at) as usize;
    let block = blocks.get(..length).filter(|block| block.len() >= ATTRIBUTE)?;
    Some((block, blocks.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_ne_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

/// nf_tables' numbers are in network byte order, of 4 or 8 bytes.
fn number(bytes: &[u8]) -> Option<u64> {
    (!bytes.is_empty() && bytes.len() <= 8).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(std::ffi::CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok()?.to_owned())
}
