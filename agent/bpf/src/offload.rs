//! Which packets of several segments an interface takes whole: the kernel cuts up the others on their way into it.
//!
//! The shim's outer IP ID is counted up per segment only where the kernel cuts TCP or UDP with IP IDs of their own. So
//! ps0 takes these and nothing else: not TCP with a fixed IP ID, for which some kernels (6.18) freeze the outer ID, nor what
//! somebody has put into a tunnel of his own, to which the kernel adds no second one. And it takes them only as long as IP
//! has room for the shim.

use std::{io, os::fd::AsRawFd};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use crate::netlink::request;

/// What may come whole (NETIF_F_GSO, NETIF_F_TSO, NETIF_F_TSO6, NETIF_F_GSO_UDP_L4 of linux/netdev_features.h, by the
/// names that the kernel gives them). The first is the leave to cut up in software at all.
const WHOLE: [&str; 4] =
    ["tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation"];
/// From so many bytes on, with their 14 of Ethernet, the kernel cuts packets up: with the shim's 32 the length of those
/// that come whole is at most 65,535, which is all that the outer header can say.
const TOO_LONG: u32 = 65_535 - 32 + 14 + 1;

// <linux/ethtool.h>
const SGRO: u32 = 0x2c;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const SS_FEATURES: u32 = 4;
/// Bytes of a name.
const GSTRING_LENGTH: usize = 32;

/// Lets only what the shim can number come whole to `ifname`, in the calling thread's network namespace.
///
/// # Errors
/// What the kernel says; `Unsupported` if it does not let go of a feature.
pub fn limit(ifname: &str) -> io::Result<()> {
    limit_length(ifname)?;
    limit_kinds(ifname)
}

/// Whether `ifname` is as [`limit`] leaves it.
///
/// # Errors
/// What the kernel says.
pub fn is_limited(ifname: &str) -> io::Result<bool> {
    Ok(has_length_limited(ifname)? && beyond(ifname)?.is_empty())
}

pub(crate) fn limit_length(ifname: &str) -> io::Result<()> {
    set_length(ifname, TOO_LONG)
}

/// Up to 65,536 it holds for both families.
fn set_length(ifname: &str, length: u32) -> io::Result<()> {
    let mut link = link(ifname)?;
    link.attributes.push(LinkAttribute::GsoMaxSize(length));
    request(RouteNetlinkMessage::SetLink(link), 0).map(|_| ())
}

fn has_length_limited(ifname: &str) -> io::Result<bool> {
    let answers = request(RouteNetlinkMessage::GetLink(link(ifname)?), 0)?;
    let Some(RouteNetlinkMessage::NewLink(found)) = answers.first() else { return Ok(false) };
    let is_too_long = |attribute: &LinkAttribute| match attribute {
        // before kernel 6.3 one for both families
        LinkAttribute::GsoMaxSize(length) | LinkAttribute::GsoIpv4MaxSize(length) => *length > TOO_LONG,
        _ => false,
    };
    Ok(!found.attributes.iter().any(is_too_long))
}

fn link(ifname: &str) -> io::Result<LinkMessage> {
    let mut link = LinkMessage::default();
    link.header.index = if_nametoindex(ifname)?;
    Ok(link)
}

fn limit_kinds(ifname: &str) -> io::Result<()> {
    // `struct ethtool_sfeatures`: pairs of what is changed and what it becomes, for all there are
    let words = words(ifname)?;
    let mut request = vec![SFEATURES, words];
    request.resize(2 + 2 * words as usize, 0);
    for (bit, _) in beyond(ifname)? {
        request[2 + 2 * (bit / 32)] |= 1 << (bit % 32);
    }
    ask(ifname, &mut request)?;
    match beyond(ifname)?.first() {
        Some((_, name)) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{name} stays on"))),
        None => Ok(()),
    }
}

/// Puts together what comes in to `ifname` in segments; a pair does not, unless it is told to.
pub(crate) fn merge_on_receive(ifname: &str) -> io::Result<()> {
    ask(ifname, &mut [SGRO, 1])
}

/// Bit and name of every kind that `ifname` takes whole beyond [`WHOLE`].
fn beyond(ifname: &str) -> io::Result<Vec<(usize, String)>> {
    // `struct ethtool_gfeatures`: of 32 features each what is available, requested, active and fixed
    let words = words(ifname)?;
    let mut request = vec![GFEATURES, words];
    request.resize(2 + 4 * words as usize, 0);
    ask(ifname, &mut request)?;
    let is_active = |bit: usize| request[2 + 4 * (bit / 32) + 2] & (1 << (bit % 32)) != 0;
    let mut beyond: Vec<(usize, String)> = names(ifname)?.into_iter().enumerate().collect();
    beyond.retain(|(bit, name)| is_of_segments(name) && !WHOLE.contains(&&**name) && is_active(*bit));
    Ok(beyond)
}

/// How many words of 32 features there are.
fn words(ifname: &str) -> io::Result<u32> {
    // asked for none, the kernel says how many it has
    let mut request = [GFEATURES, 0];
    ask(ifname, &mut request)?;
    Ok(request[1])
}

/// Every feature that is about packets of several segments is called so, or after GSO: also what later kernels add.
fn is_of_segments(name: &str) -> bool {
    name.ends_with("-segmentation") || name.ends_with("-fragmentation") || name.starts_with("tx-gso-")
}

/// Names of all features, by bit.
fn names(ifname: &str) -> io::Result<Vec<String>> {
    let [low, high] = if cfg!(target_endian = "little") { [1 << SS_FEATURES, 0] } else { [0, 1 << SS_FEATURES] };
    // `struct ethtool_sset_info`: command, nothing, a mask of 64 bits, one number per bit of it
    let mut count = [GSSET_INFO, 0, low, high, 0];
    ask(ifname, &mut count)?;
    // `struct ethtool_gstrings`: three numbers, then the names
    let mut request = vec![GSTRINGS, SS_FEATURES, count[4]];
    request.resize(3 + count[4] as usize * GSTRING_LENGTH / 4, 0);
    ask(ifname, &mut request)?;
    let bytes: Vec<u8> = request[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = |name: &[u8]| name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    Ok(bytes.chunks(GSTRING_LENGTH).map(text).collect())
}

/// One command of ethtool: `request` begins with its number, has the command's own layout, and room for the answer.
fn ask(ifname: &str, request: &mut [u32]) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    if ifname.len() >= interface.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in interface.ifr_name.iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    interface.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request lives through the call, and every caller gave it the room that its command needs.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut interface) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};
    use rtnetlink::{
        LinkMessageBuilder, LinkVeth,
        packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    };

    use super::*;

    #[test]
    fn what_somebody_lets_in_whole_is_seen_and_cut_up_again() {
        /// ETHTOOL_STSO: every kind of TCP at once.
        const STSO: u32 = 0x1f;
        let checked = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let pair = LinkMessageBuilder::<LinkVeth>::new("ps0", "ps1").build();
            request(RouteNetlinkMessage::NewLink(pair), NLM_F_CREATE | NLM_F_EXCL).unwrap();
            let taken_back = || {
                assert!(!is_limited("ps0").unwrap());
                limit("ps0").unwrap();
                assert!(is_limited("ps0").unwrap());
            };
            taken_back();
            ask("ps0", &mut [STSO, 1]).unwrap();
            taken_back();
            set_length("ps0", 65_536).unwrap();
            taken_back();
        });
        checked.join().unwrap();
    }
}
