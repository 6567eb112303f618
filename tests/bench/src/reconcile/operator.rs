//! As much of an operator as an agent needs to get plans from it: it greets, sends the latest plan, takes reports.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pathsteer_crds::session::{HEARTBEAT_SECONDS, PLAN_PATH, SessionEvent};
use pathsteer_lab::host::Host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A running stand-in. It ends with the process.
pub struct Operator {
    events: watch::Sender<Bytes>,
}

impl Operator {
    /// Listens on `address` of `host` with this certificate and key (PEM); `plan` is what an agent gets first.
    ///
    /// # Errors
    /// When certificate or key is none.
    pub fn listen(
        host: &Host,
        address: SocketAddr,
        (certificate, key): (&str, &str),
        plan: Vec<SessionEvent>,
    ) -> Result<Operator> {
        let certificates = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (events, latest) = watch::channel(lines(&plan)?);
        host.net.thread("operator", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(address, acceptor, latest))
        })?;
        Ok(Operator { events })
    }

    /// Sends another plan.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn send(&self, plan: &[SessionEvent]) -> Result<()> {
        self.events.send_replace(lines(plan)?);
        Ok(())
    }
}

/// A stream's lines.
fn lines(events: &[SessionEvent]) -> Result<Bytes> {
    let mut text = String::new();
    for event in events {
        text += &serde_json::to_string(event)?;
        text.push('\n');
    }
    Ok(text.into())
}

async fn serve(address: SocketAddr, acceptor: TlsAcceptor, latest: watch::Receiver<Bytes>) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, latest) = (acceptor.clone(), latest.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request| answer(request, latest.clone()));
            // An agent that leaves is no failure here.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    mut latest: watch::Receiver<Bytes>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await?;
    if path != PLAN_PATH {
        return Ok(Response::new(Full::default().boxed()));
    }
    latest.mark_changed();
    let frames = stream::unfold(latest, |mut latest| async {
        let heard = timeout(Duration::from_secs(HEARTBEAT_SECONDS), latest.changed()).await;
        let data = match heard {
            Ok(Ok(())) => latest.borrow_and_update().clone(),
            Ok(Err(_)) => return None,
            Err(_) => lines(&[SessionEvent::Heartbeat]).ok()?,
        };
        Some((Ok(Frame::data(data)), latest))
    });
    Ok(Response::new(StreamBody::new(frames).boxed()))
}
