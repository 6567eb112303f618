//! The flows of one measurement, with the ports that make each of them unmistakable.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::capture::{FiveTuple, Transport};
use crate::host::Host;

/// A client, a server, and where each is listened to.
#[derive(Debug, Clone)]
pub struct Ends {
    pub client: Host,
    pub client_address: IpAddr,
    pub client_interface: &'static str,
    pub server: Host,
    pub server_address: IpAddr,
    pub server_interface: &'static str,
}

/// Both ends of one flow.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    transport: Transport,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// The four flows of a measurement: datagrams and a stream each way. The client opens both streams.
#[derive(Debug, Clone, Copy)]
pub struct Flows {
    pub udp_up: Flow,
    pub udp_down: Flow,
    pub tcp_up: Flow,
    pub tcp_down: Flow,
}

/// Ports differ from run to run, so that a straggler of one is never taken for a packet of the next.
const CLIENT_PORTS: u16 = 40_000;
/// In the range of RTP, so that a policy for calls takes hold.
const SERVER_UDP_PORTS: u16 = 10_000;
const SERVER_TCP_PORTS: u16 = 30_000;

impl Flows {
    /// The flows of run number `run`, which may be up to 1,000 before ports repeat.
    pub fn new(ends: &Ends, run: u64) -> Flows {
        let first = (run % 1_000) as u16 * 4;
        let flow = |transport, number| {
            let server_ports = match transport {
                Transport::Udp => SERVER_UDP_PORTS,
                Transport::Tcp => SERVER_TCP_PORTS,
            };
            Flow {
                transport,
                client: SocketAddr::new(ends.client_address, CLIENT_PORTS + first + number),
                server: SocketAddr::new(ends.server_address, server_ports + first + number),
            }
        };
        Flows {
            udp_up: flow(Transport::Udp, 0),
            udp_down: flow(Transport::Udp, 1),
            tcp_up: flow(Transport::Tcp, 2),
            tcp_down: flow(Transport::Tcp, 3),
        }
    }

    /// Exactly what the server must receive.
    pub fn at_server(&self) -> BTreeSet<FiveTuple> {
        [self.udp_up, self.tcp_up, self.tcp_down].map(Flow::upward).into()
    }

    /// Exactly what the client must receive.
    pub fn at_client(&self) -> BTreeSet<FiveTuple> {
        [self.udp_down, self.tcp_up, self.tcp_down].map(|flow| flow.upward().reversed()).into()
    }

    /// Whether `tuple` is aimed at a port of this run: a flow of ours, whatever became of its other end.
    pub fn concerns(&self, tuple: &FiveTuple) -> bool {
        [self.udp_up, self.udp_down, self.tcp_up, self.tcp_down].iter().any(|flow| {
            tuple.transport == flow.transport && [flow.client.port(), flow.server.port()].contains(&tuple.destination.1)
        })
    }
}

impl Flow {
    fn upward(self) -> FiveTuple {
        let end = |address: SocketAddr| (address.ip(), address.port());
        FiveTuple { transport: self.transport, source: end(self.client), destination: end(self.server) }
    }
}
