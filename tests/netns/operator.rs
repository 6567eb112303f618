//! As much of an operator as an agent needs to report to it: it greets, takes reports, and has no plan to give.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::session::{PLAN_PATH, REPORT_PATH};
use pathsteer_lab::host::Host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

/// A running stand-in. It ends with the test's process.
pub struct Operator {
    last: Arc<Mutex<Option<NodeReport>>>,
}

impl Operator {
    /// Listens on `address` of `host` with this certificate and key (PEM).
    pub fn listen(host: &Host, address: SocketAddr, certificate: &str, key: &str) -> Result<Operator> {
        let certificates = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let last = Arc::default();
        let operator = Operator { last: Arc::clone(&last) };
        host.net.thread("operator", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(address, acceptor, last))
        })?;
        Ok(operator)
    }

    /// The last report.
    pub fn report(&self) -> Option<NodeReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(address: SocketAddr, acceptor: TlsAcceptor, last: Arc<Mutex<Option<NodeReport>>>) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, last) = (acceptor.clone(), Arc::clone(&last));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request| answer(request, Arc::clone(&last)));
            // An agent that leaves is no failure here.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    last: Arc<Mutex<Option<NodeReport>>>,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    if path == REPORT_PATH {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_slice(&body).ok();
    }
    Ok(Response::new(match path.as_str() {
        PLAN_PATH => StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()).boxed(),
        _ => Full::default().boxed(),
    }))
}
