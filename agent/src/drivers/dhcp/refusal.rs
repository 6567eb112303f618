//! Hears DHCPv4 servers refuse (DHCPNAK), which the client does not: it would go on asking for an address that it may not
//! have until the lease has ended.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Lets UDP to port 68 pass that is not a later fragment, all else not: on a busy uplink nothing else may be copied to us.
/// Classic BPF over packets that begin with their IP header.
const FILTER: [libc::sock_filter; 9] = [
    instruction(0x30, 0, 0, 9),      // ldb [9]            protocol
    instruction(0x15, 0, 6, 17),     // jeq UDP
    instruction(0x28, 0, 0, 6),      // ldh [6]            fragment
    instruction(0x45, 4, 0, 0x1fff), // jset offset
    instruction(0xb1, 0, 0, 0),      // ldx 4*([0]&0xf)    header
    instruction(0x48, 0, 0, 2),      // ldh [x+2]          port
    instruction(0x15, 0, 1, 68),     // jeq client's
    instruction(0x06, 0, 0, 0xffff), // ret whole
    instruction(0x06, 0, 0, 0),      // ret nothing
];

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// An ear on a card.
pub struct Refusal {
    socket: AsyncFd<OwnedFd>,
    mac: [u8; 6],
}

impl Refusal {
    /// Listens on the card with this index and MAC, of the thread's own namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(index: u32, mac: [u8; 6]) -> io::Result<Self> {
        let ok = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: a fresh descriptor that nobody else has. Without a protocol it hears nothing until it is bound.
        let socket = unsafe { OwnedFd::from_raw_fd(ok(libc::socket(libc::AF_PACKET, kind, 0))?) };
        let mut filter = FILTER;
        let program = libc::sock_fprog { len: FILTER.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
        address.sll_ifindex = index as i32;
        // SAFETY: both structures live through the calls, which are told their sizes.
        unsafe {
            ok(libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of_val(&program) as u32,
            ))?;
            ok(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32))?;
        }
        // SAFETY: an OwnedFd keeps its descriptor until it is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Refusal { socket, mac })
    }

    /// Returns once a server has refused this card's client.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn heard(&mut self) -> io::Result<()> {
        let mut buffer = [0; 2_048];
        loop {
            let mut ready = self.socket.readable().await?;
            let received = ready.try_io(|socket| {
                Ok(nix::sys::socket::recv(
                    socket.get_ref().as_raw_fd(),
                    &mut buffer,
                    nix::sys::socket::MsgFlags::empty(),
                )?)
            });
            if let Ok(length) = received
                && is_refusal(&buffer[..length?], self.mac)
            {
                return Ok(());
            }
        }
    }
}

/// Whether an IPv4 packet says DHCPNAK to the client with this MAC.
fn is_refusal(packet: &[u8], mac: [u8; 6]) -> bool {
    const REPLY: u8 = 2;
    const MESSAGE_TYPE: u8 = 53;
    const NAK: u8 = 6;
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(message) = packet.get(header + 8..) else { return false };
    if message.first() != Some(&REPLY) || message.get(28..34) != Some(&mac) {
        return false;
    }
    // fixed fields and cookie are 240 bytes; options are code, length, value, but padding is a single zero
    let mut options = message.get(240..).unwrap_or_default();
    while let [code, rest @ ..] = options {
        match (*code, rest) {
            (0, _) => options = rest,
            (MESSAGE_TYPE, [1, kind, ..]) => return *kind == NAK,
            (255, _) | (_, []) => return false,
            (_, [length, value @ ..]) => options = value.get(usize::from(*length)..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + 8 + 240];
        packet[0] = 0x45;
        packet[28] = 2;
        packet[28 + 28..28 + 34].copy_from_slice(&MAC);
        packet.extend(options);
        packet
    }

    #[test]
    fn a_refusal_is_told_from_what_else_a_server_says_and_from_what_it_tells_others() {
        assert!(is_refusal(&packet(&[0, 54, 4, 192, 0, 2, 1, 53, 1, 6, 255]), MAC));
        assert!(!is_refusal(&packet(&[53, 1, 5, 255]), MAC), "an acknowledgement");
        assert!(!is_refusal(&packet(&[53, 1, 6, 255]), [2, 0, 0, 0, 0, 8]), "somebody else's");
    }

    #[test]
    fn what_is_cut_short_is_none_and_harms_nobody() {
        let whole = packet(&[54, 4, 192, 0, 2, 1, 53, 1, 6]);
        for length in 0..whole.len() {
            assert!(!is_refusal(&whole[..length], MAC), "of {length} bytes");
        }
        assert!(!is_refusal(&packet(&[54, 200, 1]), MAC));
    }
}
