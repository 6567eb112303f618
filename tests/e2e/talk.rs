//! Two hosts that talk in numbered datagrams, question and answer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{CLIENT, SERVER};

/// Longer than any round trip of the lab, with a neighbour to be found first.
const PATIENCE: Duration = Duration::from_secs(2);

/// The client's and the server's addresses, by family.
pub const ENDS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(CLIENT), IpAddr::V4(SERVER)),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2)),
    ),
];

/// A UDP socket of `host`.
pub fn socket(host: &Host, address: SocketAddr) -> Result<UdpSocket> {
    let socket = host.net.run(|| UdpSocket::bind(address).with_context(|| format!("binding UDP {address}")))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// `from` asks `to` so many times and is answered each time, no question or answer coming twice.
pub fn talk(from: (&Host, SocketAddr), to: (&Host, SocketAddr), rounds: u32) -> Result<()> {
    let (asking, answering) = (socket(from.0, from.1)?, socket(to.0, to.1)?);
    let mut bytes = [0; 16];
    for round in 0..rounds {
        asking.send_to(&round.to_be_bytes(), to.1)?;
        let (length, source) = answering.recv_from(&mut bytes).with_context(|| format!("question {round} was lost"))?;
        ensure!(bytes[..length] == round.to_be_bytes(), "question {round}: got {:?}", &bytes[..length]);
        ensure!(source == from.1, "question {round} comes from {source}");
        answering.send_to(&round.to_be_bytes(), source)?;
        let (length, source) = asking.recv_from(&mut bytes).with_context(|| format!("answer {round} was lost"))?;
        ensure!(bytes[..length] == round.to_be_bytes(), "answer {round}: got {:?}", &bytes[..length]);
        ensure!(source == to.1, "answer {round} comes from {source}");
    }
    Ok(())
}
