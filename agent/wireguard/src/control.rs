//! The worker's end of its control socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::{Request, Response};

/// How long to let be when no connection can be accepted: out of descriptors, most likely, and without a rest it spins.
const REST: Duration = Duration::from_secs(1);

/// A request, and where its answer is awaited.
pub(crate) type Call = (Request, oneshot::Sender<Response>);

/// Opens the socket at `path`, in place of whatever is there: the caller knows that its owner is dead.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes connections for as long as it is polled. `digest` is of the configuration in force.
pub(crate) async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>, digest: watch::Receiver<String>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, calls.clone(), digest.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Answers one connection's requests, one after the other.
async fn serve(stream: UnixStream, calls: mpsc::Sender<Call>, mut digest: watch::Receiver<String>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let response = match serde_json::from_str(&line) {
            Ok(mut request) => {
                if let Request::Await { digest: known } = &request {
                    tokio::select! {
                        Ok(_) = digest.wait_for(|now| now != known) => request = Request::Status,
                        // whoever waits says nothing meanwhile: it has gone, and so may the worker have
                        _ = lines.next_line() => return Ok(()),
                    }
                }
                let (answer, answered) = oneshot::channel();
                // Both fail only when the worker is ending.
                if calls.send((request, answer)).await.is_err() {
                    return Ok(());
                }
                let Ok(response) = answered.await else { return Ok(()) };
                response
            }
            Err(error) => Response::Refused(format!("not a request: {error}")),
        };
        let mut line = serde_json::to_string(&response)?;
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
    }
    Ok(())
}
