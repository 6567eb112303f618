//! Somebody between side a and side b, who sees every datagram and may do with it what he likes.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::net::{Net, PORT, visit};

const RELAY_PORT: u16 = 4_000;
/// A datagram that carries a packet, as opposed to a keepalive.
const DATA: u8 = 4;
const KEEPALIVE_BYTES: usize = 32;

/// Relays until dropped. It stands where side b's WAN is: side a sends to it, side b hears from it.
pub struct Relay {
    /// Where side a is to send to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    near: UdpSocket,
    far: UdpSocket,
    stop: AtomicBool,
    /// The class with which what comes from a goes on; [`AS_IT_CAME`] leaves it.
    class: AtomicU8,
    /// Class and bytes of what carried a packet from a to b.
    seen: Mutex<Vec<(u8, Vec<u8>)>>,
    a: Mutex<Option<SocketAddr>>,
}

const AS_IT_CAME: u8 = 0xff;

impl Relay {
    pub fn start(net: &Net, is_ipv6: bool) -> Relay {
        let wan = net.b.wan(is_ipv6);
        let open = |port| {
            let socket = visit(&net.b.underlay, || UdpSocket::bind((wan, port)).unwrap());
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            if is_ipv6 {
                setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).unwrap();
            } else {
                setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
            }
            socket
        };
        let shared = Arc::new(Shared {
            near: open(RELAY_PORT),
            far: open(0),
            stop: AtomicBool::new(false),
            class: AtomicU8::new(AS_IT_CAME),
            seen: Mutex::default(),
            a: Mutex::default(),
        });
        let to_b = SocketAddr::new(wan, PORT);
        let (onwards, back) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::spawn(move || onwards.run(|shared| shared.onwards(to_b))),
            std::thread::spawn(move || back.run(Shared::back)),
        ];
        Relay { address: SocketAddr::new(wan, RELAY_PORT), shared, threads }
    }

    /// From now on every datagram to b has this type of service or traffic class.
    pub fn mark(&self, class: u8) {
        self.shared.class.store(class, Ordering::Relaxed);
    }

    /// What carried a packet from a to b so far, with its class.
    pub fn seen(&self) -> Vec<(u8, Vec<u8>)> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Sends b a datagram of his own.
    pub fn inject(&self, bytes: &[u8]) {
        let wan = self.address.ip();
        self.shared.far.send_to(bytes, (wan, PORT)).unwrap();
    }
}

impl Shared {
    fn run(&self, step: impl Fn(&Shared)) {
        while !self.stop.load(Ordering::Relaxed) {
            step(self);
        }
    }

    fn onwards(&self, to_b: SocketAddr) {
        let Some((bytes, from, class)) = receive(&self.near) else { return };
        *self.a.lock().unwrap() = Some(from);
        if bytes[0] == DATA && bytes.len() > KEEPALIVE_BYTES {
            self.seen.lock().unwrap().push((class, bytes.clone()));
        }
        let class = match self.class.load(Ordering::Relaxed) {
            AS_IT_CAME => class,
            class => class,
        };
        send(&self.far, &bytes, to_b, class);
    }

    fn back(&self) {
        let Some((bytes, _, class)) = receive(&self.far) else { return };
        if let Some(a) = *self.a.lock().unwrap() {
            send(&self.near, &bytes, a, class);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A datagram, its sender and its class; `None` if none came for a while.
pub fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr, u8)> {
    let (mut bytes, mut space, mut class) = (vec![0; 65_535], cmsg_space!(i32, i32), 0);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()).ok()?;
    for control in message.cmsgs().unwrap() {
        match control {
            ControlMessageOwned::Ipv4Tos(tos) => class = tos,
            ControlMessageOwned::Ipv6TClass(tclass) => class = tclass as u8,
            _ => {}
        }
    }
    let address = message.address.unwrap();
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    let from = v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from(*address))).unwrap();
    let length = message.bytes;
    bytes.truncate(length);
    Some((bytes, from, class))
}

/// Sends a datagram with a class.
pub fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, class: u8) {
    let class6 = i32::from(class);
    let control = if to.is_ipv4() { ControlMessage::Ipv4Tos(&class) } else { ControlMessage::Ipv6TClass(&class6) };
    let to = SockaddrStorage::from(to);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &[control], MsgFlags::empty(), Some(&to)).unwrap();
}
