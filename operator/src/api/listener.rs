//! The accept loop: TLS, who is at the other end, and then HTTP/2 or HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::Peer;
use crate::pki::{Authority, Party, TlsError, server_config};

/// How long a client may take for its handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an idle HTTP/2 client is probed that is no node, and how long it may take to answer. A node is not: its plan
/// stream has heartbeats, as rare as it wants them.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged, in milliseconds: a node whose uplink died is not connected, whatever the
/// kernel believes, which would try for a quarter of an hour.
const TCP_USER_TIMEOUT_MS: u32 = 20_000;
/// What was silent for so long is probed by the kernel: a node that has no plan stream, and died. Longer than any heartbeat.
const TCP_KEEPALIVE_SECONDS: u32 = 700;
/// The certificate is made anew this often: it lives 90 days, an operator may run for years.
const CERTIFICATE_AGE: Duration = Duration::from_secs(24 * 3_600);
/// How long requests may take to finish when the operator ends.
const GRACE: Duration = Duration::from_secs(2);

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The open socket and what is served on it.
pub struct Listener {
    socket: TcpListener,
    authority: Authority,
    names: Vec<String>,
    acceptor: TlsAcceptor,
    made: Instant,
}

impl Listener {
    /// Listens on `address` with certificates for `names` by `authority`.
    ///
    /// # Errors
    /// The address is taken, or a name cannot be in a certificate.
    pub async fn bind(address: SocketAddr, authority: Authority, names: Vec<String>) -> Result<Listener, ListenError> {
        let acceptor = acceptor(&authority, &names)?;
        let socket = TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Listener { socket, authority, names, acceptor, made: Instant::now() })
    }

    /// The address that is listened on; with port 0, the one the kernel chose.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves `router` until `ending`, then lets requests finish.
    pub async fn serve(mut self, router: Router, ending: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = ending.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    self.renew();
                    connections.spawn(serve(stream, self.acceptor.clone(), router.clone(), ending.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must end before there is one again.
                    warn!(%error, "connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.close();
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            debug!("connections cut that did not end by themselves");
        }
    }

    fn renew(&mut self) {
        if self.made.elapsed() < CERTIFICATE_AGE {
            return;
        }
        match acceptor(&self.authority, &self.names) {
            Ok(acceptor) => (self.acceptor, self.made) = (acceptor, Instant::now()),
            Err(error) => warn!(%error, "certificate cannot be made anew, the old one is used"),
        }
    }
}

fn acceptor(authority: &Authority, names: &[String]) -> Result<TlsAcceptor, TlsError> {
    Ok(TlsAcceptor::from(Arc::new(server_config(authority, names)?)))
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: Router, ending: CancellationToken) {
    let options = stream.set_nodelay(true).and_then(|()| {
        setsockopt(&stream, sockopt::TcpUserTimeout, &TCP_USER_TIMEOUT_MS)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &TCP_KEEPALIVE_SECONDS)?;
        setsockopt(&stream, sockopt::KeepAlive, &true).map_err(io::Error::from)
    });
    if let Err(error) = options {
        debug!(%error, "socket options not set");
    }
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let Some(peer) = certificates.and_then(<[_]>::first).and_then(Peer::of) else {
        return debug!("certificate without a name");
    };
    let probed = (peer.party != Some(Party::Node)).then_some(KEEPALIVE_INTERVAL);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (mut request, router) = (request.map(Body::new), router.clone());
        request.extensions_mut().insert(peer.clone());
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(probed).keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(error, "connection ended");
    }
}
