//! Packets made by hand, for what no honest socket would send: every field is the caller's.

mod ip;
mod transport;

pub use ip::{Ipv4, Ipv6, checksum, ethernet, fragments, ip};
pub use transport::{FIN, Gre, PUSH_ACK, SYN, Tcp, udp};

/// An Ethernet address.
pub type Mac = [u8; 6];
