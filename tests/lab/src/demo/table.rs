//! An nft table deleted and looked for by netlink: the program `nft` takes longer for either than the table is away.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Of <linux/netfilter/nfnetlink.h> and <linux/netfilter/nf_tables.h>.
const BATCH_BEGIN: u16 = libc::NLMSG_MIN_TYPE as u16;
const BATCH_END: u16 = BATCH_BEGIN + 1;
const NF_TABLES: u16 = 10;
const GET_TABLE: u16 = NF_TABLES << 8 | 1;
const DELETE_TABLE: u16 = NF_TABLES << 8 | 2;
const TABLE_NAME: u16 = 1;
const INET: u8 = 1;

/// Deletes the inet table `name` of the calling thread's namespace.
///
/// # Errors
/// What the kernel says.
pub fn delete(name: &str) -> io::Result<()> {
    // a batch is of the subsystem that its begin and end name
    let limit = |kind| message(kind, 0, 0, NF_TABLES, &[]);
    let batch = [limit(BATCH_BEGIN), named(DELETE_TABLE, name), limit(BATCH_END)].concat();
    ask(&batch)
}

/// Whether the calling thread's namespace has an inet table `name`.
///
/// # Errors
/// What the kernel says.
pub fn exists(name: &str) -> io::Result<bool> {
    match ask(&named(GET_TABLE, name)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        answer => answer.map(|()| true),
    }
}

fn named(kind: u16, name: &str) -> Vec<u8> {
    let mut attribute = ((4 + name.len() + 1) as u16).to_ne_bytes().to_vec();
    attribute.extend(TABLE_NAME.to_ne_bytes());
    attribute.extend(name.as_bytes());
    attribute.resize((attribute.len() + 1).next_multiple_of(4), 0);
    message(kind, libc::NLM_F_ACK as u16, INET, 0, &attribute)
}

/// `struct nlmsghdr`, `struct nfgenmsg` and what follows.
fn message(kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let mut message = ((20 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(body);
    message
}

/// Sends a request; its acknowledgement is the answer that matters.
fn ask(request: &[u8]) -> io::Result<()> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut buffer = vec![0; 8192];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let number = |at: usize, size: usize| buffer[..length].get(at..at + size);
        let kind = number(4, 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        if kind == Some(libc::NLMSG_ERROR as u16) {
            let code = number(16, 4).map_or(-libc::EIO, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
        }
    }
}
