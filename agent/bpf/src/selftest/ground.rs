//! Where the self-test runs: a LAN pair, a shim pair and a tunnel in the calling thread's namespace.
//!
//! ```text
//! lan0 ─ lan1 ─► route ─► ps0 ─ ps1 (shim) ─► route ─► tun0, which this process reads
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{Xdp, xdp::XdpMode},
};
use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use rtnetlink::{
    AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        AddressFamily as RouteFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
};

use super::{
    Failure,
    packets::{self, Segments, Shape},
};
use crate::{Error, SELFTEST_OBJECT, netlink::request, offload};

pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(172, 16, 7, 2);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2);
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 51, 0, 0, 0, 0, 2);
pub const SENDER_MAC: [u8; 6] = [2, 0x70, 0x73, 9, 0, 1];
pub const GATEWAY_MAC: [u8; 6] = [2, 0x70, 0x73, 9, 0, 2];
const SHIM_MAC: [u8; 6] = [2, 0x70, 0x73, 0, 0, 2];
/// The end of the shim pair to which packets are routed.
pub const SHIM: &str = "ps0";
/// The end where the shim is put on.
pub const SHIM_PEER: &str = "ps1";
/// What lies behind the sender, and what behind the receiver.
pub const INSIDE: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::new(172, 16, 7, 0)), 24), (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0)), 64)];
pub const OUTSIDE: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 51, 0, 0, 0, 0, 0)), 64),
];
/// The gateway's own address in the LAN, from which it sends itself.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 7, 1);
/// Room for every packet of a shape at once: they are read after all have been sent.
const QUEUE: u32 = 1_000;
const SYSCTLS: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
];

/// The interfaces, as long as this lives and its thread stays where it is.
pub struct Ground {
    tunnel: File,
    sender: OwnedFd,
}

/// Something happens to every IPv4 TCP segment that the LAN brings, as long as this lives.
pub struct Treated {
    _programs: Ebpf,
}

impl Ground {
    pub fn new() -> Result<Self, Failure> {
        for (key, value) in SYSCTLS {
            fs::write(format!("/proc/sys/net/{key}"), value).map_err(failed("set a sysctl"))?;
        }
        let tunnel = tunnel("tun0").map_err(failed("make a TUN"))?;
        links().map_err(failed("make interfaces"))?;
        routes().map_err(failed("make routes"))?;
        Ok(Ground { tunnel, sender: packet_socket("lan0").map_err(failed("open a packet socket"))? })
    }

    /// Sends every packet of a shape and returns what is to arrive.
    pub fn send(&self, shape: Shape) -> Result<Segments, Failure> {
        for number in 0..packets::PACKETS.len() {
            match shape {
                Shape::Udp => send_udp(number),
                Shape::Tcp | Shape::TcpFixedId | Shape::TcpInGre => self.send_frame(&packets::tcp(number, false)),
                Shape::Tcp6 => self.send_frame(&packets::tcp(number, true)),
            }
            .map_err(failed("send"))?;
        }
        Ok(packets::all())
    }

    fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        nix::unistd::write(&self.sender, frame)?;
        Ok(())
    }

    /// The next packet on the tunnel with an Ethernet header before it, unless none comes for `quiet`.
    pub fn receive(&self, quiet: Duration) -> Result<Option<Vec<u8>>, Failure> {
        let mut waiting = [PollFd::new(self.tunnel.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(quiet).unwrap_or(PollTimeout::ZERO);
        if poll(&mut waiting, timeout).map_err(|errno| failed("wait")(errno.into()))? == 0 {
            return Ok(None);
        }
        let mut packet = vec![0; 14 + 65_536];
        packet[12..14].copy_from_slice(&(libc::ETH_P_IP as u16).to_be_bytes());
        let length = (&self.tunnel).read(&mut packet[14..]).map_err(failed("read the TUN"))?;
        packet.truncate(14 + length);
        Ok(Some(packet))
    }

    /// From now on the program of that name treats every segment, and the kernel merges them after it.
    pub fn treat(&self, program: &str) -> Result<Treated, Failure> {
        offload::merge_on_receive("lan1").map_err(failed("switch GRO on"))?;
        let mut programs = Ebpf::load(SELFTEST_OBJECT).map_err(Error::Load)?;
        let program = programs.program_mut(program).ok_or(Error::Missing("program"))?;
        let program: &mut Xdp = program.try_into().map_err(Error::Program)?;
        program.load().map_err(Error::Program)?;
        program.attach("lan1", XdpMode::Default).map_err(Error::Program)?;
        Ok(Treated { _programs: programs })
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Kernel { what, source }
}

/// Without offloads: the kernel cuts up what it sends here, as before a WireGuard worker.
fn tunnel(name: &str) -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the call reads and writes the request, which lives through it.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(device),
    }
}

fn links() -> io::Result<()> {
    let macs = [("lan0", SENDER_MAC), ("lan1", GATEWAY_MAC), (SHIM, [2, 0x70, 0x73, 0, 0, 1]), (SHIM_PEER, SHIM_MAC)];
    for (near, far) in [("lan0", "lan1"), (SHIM, SHIM_PEER)] {
        add(RouteNetlinkMessage::NewLink(LinkMessageBuilder::<LinkVeth>::new(near, far).build()))?;
    }
    for (name, mac) in macs {
        let link = LinkMessageBuilder::<LinkUnspec>::new().index(index(name)?).address(mac.to_vec()).up().build();
        request(RouteNetlinkMessage::SetLink(link), 0)?;
    }
    let tunnel = LinkMessageBuilder::<LinkUnspec>::new().index(index("tun0")?).txqueuelen(QUEUE).up();
    request(RouteNetlinkMessage::SetLink(tunnel.build()), 0)?;
    let lan = index("lan1")?;
    let address = AddressMessageBuilder::<Ipv4Addr>::new().index(lan).address(GATEWAY, 24).build();
    add(RouteNetlinkMessage::NewAddress(address))
}

fn routes() -> io::Result<()> {
    let shim = index(SHIM)?;
    for server in [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)] {
        let route = match server {
            IpAddr::V4(v4) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).output_interface(shim).build()
            }
            IpAddr::V6(v6) => {
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).output_interface(shim).build()
            }
        };
        add(RouteNetlinkMessage::NewRoute(route))?;
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = if server.is_ipv4() { RouteFamily::Inet } else { RouteFamily::Inet6 };
        neighbour.header.ifindex = shim;
        neighbour.header.state = NeighbourState::Permanent;
        neighbour.attributes.push(NeighbourAttribute::Destination(server.into()));
        neighbour.attributes.push(NeighbourAttribute::LinkLayerAddress(SHIM_MAC.to_vec()));
        add(RouteNetlinkMessage::NewNeighbour(neighbour))?;
    }
    let tunnel = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(super::FAR.into(), 32)
        .output_interface(index("tun0")?);
    add(RouteNetlinkMessage::NewRoute(tunnel.build()))
}

/// A socket that sends frames with virtio headers out of `name`.
fn packet_socket(name: &str) -> io::Result<OwnedFd> {
    /// <linux/if_packet.h>
    const PACKET_VNET_HDR: libc::c_int = 15;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    set_option(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index(name)? as i32;
    let length = size_of_val(&address) as u32;
    // SAFETY: the address lives through the call and is as long as said.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the gateway itself sends: the kernel cuts the datagram up late.
fn send_udp(number: usize) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((GATEWAY, 0)))?;
    set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, packets::SEGMENT as libc::c_int)?;
    socket.send_to(&packets::payload(number), SocketAddr::from((SERVER4, 5_001)))?;
    Ok(())
}

fn set_option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value lives through the call and is as long as said.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of_val(&value) as u32)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn add(message: RouteNetlinkMessage) -> io::Result<()> {
    request(message, NLM_F_CREATE | NLM_F_EXCL).map(|_| ())
}

fn index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}
