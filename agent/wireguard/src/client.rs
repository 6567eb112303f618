//! The agent's end of a worker's control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;

use crate::WorkerStatus;
use crate::protocol::{Request, Response};

/// How long a worker may take to do what it is told. A second is its own limit for waiting; the rest is for a loaded
/// machine. One that takes longer hangs.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to say how it is. Who asks has other things to do.
const STATUS: Duration = Duration::from_secs(2);
/// How long a worker may take to end when asked to.
const END: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The worker ended before it answered.
    #[error("the worker is gone")]
    Gone,
    #[error("the worker does not answer")]
    Hangs,
    #[error("the worker refused: {0}")]
    Refused(String),
    #[error("the worker's socket")]
    Io(#[source] io::Error),
    #[error("the worker's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// A connection to a worker.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects to the worker behind `socket`; `None` if there is none, whatever a dead one left behind.
    pub(crate) fn connect(socket: &Path) -> Result<Option<Client>, ClientError> {
        let stream = match UnixStream::connect(socket) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(ClientError::Io(error)),
        };
        stream.set_write_timeout(Some(ANSWER)).map_err(ClientError::Io)?;
        Ok(Some(Client(BufReader::new(stream))))
    }

    pub(crate) fn request(&mut self, request: &Request) -> Result<WorkerStatus, ClientError> {
        let patience = if matches!(request, Request::Status) { STATUS } else { ANSWER };
        self.0.get_ref().set_read_timeout(Some(patience)).map_err(ClientError::Io)?;
        let mut line = serde_json::to_string(request).map_err(ClientError::Answer)?;
        line.push('\n');
        let mut answer = String::new();
        self.0.get_mut().write_all(line.as_bytes()).map_err(gone)?;
        if self.0.read_line(&mut answer).map_err(gone)? == 0 {
            return Err(ClientError::Gone);
        }
        match serde_json::from_str(&answer).map_err(ClientError::Answer)? {
            Response::Status(status) => Ok(status),
            Response::Refused(reason) => Err(ClientError::Refused(reason)),
        }
    }

    /// Ends the worker and returns when it has ended; one that does not of its own is killed.
    pub(crate) fn end(self) -> Result<(), ClientError> {
        self.signal(&[Signal::SIGTERM, Signal::SIGKILL])
    }

    /// Kills the worker and returns when it is gone.
    pub(crate) fn kill(self) -> Result<(), ClientError> {
        self.signal(&[Signal::SIGKILL])
    }

    fn signal(mut self, signals: &[Signal]) -> Result<(), ClientError> {
        let peer = getsockopt(self.0.get_ref(), PeerCredentials).map_err(|errno| ClientError::Io(errno.into()))?;
        let pid = Pid::from_raw(peer.pid());
        // While our connection is open the process exists, so its id cannot have passed to another one.
        for signal in signals {
            match kill(pid, *signal) {
                Err(Errno::ESRCH) => return Ok(()),
                done => done.map_err(|errno| ClientError::Io(errno.into()))?,
            }
            self.0.get_ref().set_read_timeout(Some(END)).map_err(ClientError::Io)?;
            match self.0.read_line(&mut String::new()).map_err(gone) {
                Ok(_) | Err(ClientError::Gone) => return Ok(()),
                Err(_) => tracing::warn!(%pid, %signal, "worker did not end in time"),
            }
        }
        Err(ClientError::Io(io::ErrorKind::TimedOut.into()))
    }
}

fn gone(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => ClientError::Gone,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Hangs,
        _ => ClientError::Io(error),
    }
}
