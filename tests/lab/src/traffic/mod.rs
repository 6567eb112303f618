//! Traffic both ways at once between a client and a server, with an account of every packet.

mod accounting;
mod exchange;
mod flows;
mod marker;
mod packet;
mod ping;
pub(crate) mod socket;
mod stream;
mod transfer;
pub mod udp;

pub use accounting::{Account, Accounting};
pub use exchange::{Exchange, exchange};
pub use flows::{Ends, Flows};
pub use marker::Marker;
pub use packet::Stamp;
pub use transfer::transfer;
pub use udp::Datagrams;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::capture::{Capture, FiveTuple};
use crate::clock;
use crate::host::Host;
use crate::netns;
use stream::Bytes;

/// From the order to send until the first packet: long enough for every thread to be in place.
const LEAD: Duration = Duration::from_millis(100);
/// How long after the end a stream may still deliver: TCP's timer has backed off to about 3 s after an outage of 3 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);

/// How much of what.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What the datagrams of each flow are like; streams and pings carry the same marker.
    pub datagrams: Datagrams,
    pub duration: Duration,
}

/// What became of one direction.
#[derive(Debug)]
pub struct Direction {
    pub datagrams: Account,
    /// When each datagram was sent.
    pub sent_at: Vec<Duration>,
    /// Datagrams the receiving socket dropped.
    pub socket_drops: u32,
    pub ping_lost: u64,
    /// Bytes that arrived and were right, or what went wrong.
    pub stream: Result<u64>,
    /// Flows that arrived and should not exist, or should have arrived and did not.
    pub changed_flows: BTreeSet<FiveTuple>,
    /// Frames that the capture behind `changed_flows` missed.
    pub capture_missed: u32,
}

/// What became of both directions.
#[derive(Debug)]
pub struct Outcome {
    pub up: Direction,
    pub down: Direction,
}

/// Sends `load` both ways and runs `meanwhile`, which is told when the first packet leaves, on the calling thread.
///
/// # Errors
/// When a socket is not to be had, or `meanwhile` fails. Lost traffic is an outcome, not an error.
pub fn run(ends: &Ends, load: Load, meanwhile: impl FnOnce(Duration) -> Result<()>) -> Result<Outcome> {
    let Load { datagrams: kind, duration } = load;
    let flows = Flows::new(ends, kind.run);
    let at_server = Capture::start(&ends.server, ends.server_interface, move |tuple| flows.concerns(tuple))?;
    let at_client = Capture::start(&ends.client, ends.client_interface, move |tuple| flows.concerns(tuple))?;
    let up_receiver = udp::Receiver::start(&ends.server, flows.udp_up.server, kind.run)?;
    let down_receiver = udp::Receiver::start(&ends.client, flows.udp_down.client, kind.run)?;

    let start = clock::now() + LEAD;
    let span = (start, start + duration);
    let (client, server) = (&ends.client, &ends.server);
    let bytes = Bytes::new(kind.run, kind.marker);
    let up_stream = streams(client, server, flows.tcp_up.client, flows.tcp_up.server, true, bytes, span)?;
    let down_stream = streams(client, server, flows.tcp_down.client, flows.tcp_down.server, false, bytes, span)?;
    let identifier = kind.run as u16;
    let up_ping = ping::start(client, ends.server_address, identifier, kind.marker, span)?;
    let down_ping = ping::start(server, ends.client_address, identifier, kind.marker, span)?;
    let up_sender = udp::send(client, flows.udp_up.client, flows.udp_up.server, kind, span)?;
    let down_sender = udp::send(server, flows.udp_down.server, flows.udp_down.client, kind, span)?;

    let meanwhile = meanwhile(start);

    // Everything is waited for before any error is passed on: no thread outlives its measurement.
    let up = datagrams(up_sender, up_receiver);
    let down = datagrams(down_sender, down_receiver);
    let pings = (netns::join(up_ping), netns::join(down_ping));
    let streams = (up_stream.verdict(), down_stream.verdict());
    let captures = (at_server.finish(), at_client.finish());
    meanwhile?;

    let direction =
        |datagrams: Result<Accounted>, ping: Result<u64>, stream, capture: Result<crate::capture::Seen>, wanted| {
            let (datagrams, capture) = (datagrams?, capture?);
            let seen: BTreeSet<FiveTuple> = capture.received.into_keys().collect();
            anyhow::Ok(Direction {
                datagrams: datagrams.account,
                sent_at: datagrams.sent_at,
                socket_drops: datagrams.socket_drops,
                ping_lost: ping?,
                stream,
                changed_flows: &seen ^ &wanted,
                capture_missed: capture.missed,
            })
        };
    Ok(Outcome {
        up: direction(up, pings.0, streams.0, captures.0, flows.at_server())?,
        down: direction(down, pings.1, streams.1, captures.1, flows.at_client())?,
    })
}

struct Accounted {
    account: Account,
    sent_at: Vec<Duration>,
    socket_drops: u32,
}

fn datagrams(sender: JoinHandle<Result<Vec<Duration>>>, receiver: udp::Receiver) -> Result<Accounted> {
    let sent_at = netns::join(sender)?;
    let sent = sent_at.len() as u64;
    let received = receiver.finish(sent, sent_at.last().copied().unwrap_or_default())?;
    Ok(Accounted { account: received.accounting.close(sent), sent_at, socket_drops: received.socket_drops })
}

/// The two ends of a stream under way.
struct Stream {
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<u64>>,
}

impl Stream {
    /// Bytes that were sent and arrived, every one of them right; or why not.
    fn verdict(self) -> Result<u64> {
        let (sent, received) = (netns::join(self.sender), netns::join(self.receiver));
        let (sent, received) = (sent?, received?);
        anyhow::ensure!(sent == received, "{sent} bytes were sent but {received} arrived");
        Ok(received)
    }
}

/// Opens a stream from client to server and sends along it (`up`) or back.
fn streams(
    client: &Host,
    server: &Host,
    from: SocketAddr,
    to: SocketAddr,
    up: bool,
    bytes: Bytes,
    (start, end): (Duration, Duration),
) -> Result<Stream> {
    let deadline = end + STREAM_PATIENCE;
    let listener = server.net.run(|| socket::listener(to))?;
    let send = move |connection: TcpStream| stream::send(connection, bytes, (end, deadline));
    let receive = move |connection: TcpStream| stream::receive(connection, bytes, deadline);
    let accepting = std::thread::Builder::new().name("tcp-server".into()).spawn(move || {
        let (connection, _) = accept(&listener, deadline)?;
        if up { receive(connection) } else { send(connection) }
    })?;
    let connecting = client.net.thread("tcp-client", move || {
        clock::sleep_until(start);
        let connection = socket::connected(from, to, end.saturating_sub(start))?;
        if up { send(connection) } else { receive(connection) }
    })?;
    let (sender, receiver) = if up { (connecting, accepting) } else { (accepting, connecting) };
    Ok(Stream { sender, receiver })
}

pub(crate) fn accept(listener: &TcpListener, deadline: Duration) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let mut accepted = None;
    let look = Duration::from_millis(2);
    clock::wait_until(deadline, look, || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (connection, peer) = accepted.ok_or_else(|| anyhow::anyhow!("no connection came in"))?;
    connection.set_nonblocking(false)?;
    Ok((connection, peer))
}
