//! A transfer: as many bytes as fast as TCP can, every one of them compared.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::accept;
use super::marker::Marker;
use super::socket;
use super::stream::Bytes;
use crate::clock;
use crate::host::Host;
use crate::netns;

/// What is written or read at once: as much as the kernel cuts up in one go.
const CHUNK: usize = 65_536;

/// Sends `size` bytes by TCP from one host to the other; how long that took.
///
/// # Errors
/// When nobody connects, a byte is missing or wrong, or it takes longer than `patience`.
pub fn transfer(
    from: (&Host, SocketAddr),
    to: (&Host, SocketAddr),
    size: usize,
    marker: Marker,
    patience: Duration,
) -> Result<Duration> {
    let start = clock::now();
    let deadline = start + patience;
    let listener = to.0.net.run(|| socket::listener(to.1))?;
    let sender = from.0.net.run(|| socket::connected(from.1, to.1, patience))?;
    let (receiver, _) = accept(&listener, deadline)?;
    sender.set_write_timeout(Some(patience))?;
    receiver.set_read_timeout(Some(patience))?;
    let sending = std::thread::spawn(move || send(sender, size, marker));
    // The receiver ends first, with its connection: a sender that still has something ends with it.
    let received = receive(receiver, size, marker, deadline);
    let sent = netns::join(sending);
    received?;
    sent?;
    Ok(clock::now() - start)
}

fn send(mut connection: TcpStream, size: usize, marker: Marker) -> Result<()> {
    let (mut bytes, mut chunk) = (Bytes::new(size as u64, marker), [0; CHUNK]);
    let mut left = size;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        bytes.fill(part);
        connection.write_all(part)?;
        left -= part.len();
    }
    Ok(connection.shutdown(Shutdown::Write)?)
}

fn receive(mut connection: TcpStream, size: usize, marker: Marker, deadline: Duration) -> Result<()> {
    let (mut got, mut wanted, mut total) = ([0; CHUNK], [0; CHUNK], 0);
    let mut bytes = Bytes::new(size as u64, marker);
    loop {
        let length = connection.read(&mut got).with_context(|| format!("after {total} bytes"))?;
        if length == 0 {
            ensure!(total == size, "{total} bytes of {size} arrived");
            return Ok(());
        }
        bytes.fill(&mut wanted[..length]);
        let wrong = (0..length).find(|at| got[*at] != wanted[*at]);
        ensure!(wrong.is_none(), "byte {} is wrong", total + wrong.unwrap_or_default());
        total += length;
        ensure!(clock::now() < deadline, "only {total} bytes of {size} arrived in time");
    }
}
