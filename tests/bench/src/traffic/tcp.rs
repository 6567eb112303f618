//! A TCP stream as fast as it goes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use pathsteer_lab::host::Host;
use pathsteer_lab::netns;

use super::Window;

/// Bytes handed to the kernel at once.
const CHUNK: usize = 256 << 10;
/// No byte for this long, and the stream is called stuck.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends from `client` to `server` at `address` and returns the bits a second that arrive within `window`.
///
/// # Errors
/// When no connection comes about, or it breaks or sticks before the window is over.
pub fn stream(client: &Host, server: &Host, address: SocketAddr, window: Window) -> Result<f64> {
    let listener = server.net.run(|| Ok(TcpListener::bind(address)?))?;
    let receiver = server.net.thread("receiver", move || receive(&listener.accept()?.0, window))?;
    let mut sender = client.net.run(|| {
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connecting from {}", client.name))
    })?;
    sender.set_write_timeout(Some(PATIENCE))?;
    let chunk = vec![0; CHUNK];
    while !window.is_over() {
        match sender.write(&chunk) {
            Ok(_) => {}
            // the receiver looked at its clock first
            Err(error) if window.is_over() && is_closed(&error) => break,
            Err(error) => return Err(error).context("a TCP stream broke"),
        }
    }
    drop(sender);
    Ok(netns::join(receiver)? as f64 * 8.0 / window.seconds())
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// The bytes that arrive within `window`.
fn receive(mut stream: &TcpStream, window: Window) -> Result<usize> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    while !window.is_over() {
        let got = stream.read(&mut buffer).context("a TCP stream stuck")?;
        if got == 0 {
            break;
        }
        if window.has_begun() {
            bytes += got;
        }
    }
    Ok(bytes)
}
