//! The operator's API as a user has it: one connection over mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pathsteer_lab::host::Host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// Who somebody is, and whom he believes; PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

/// A user.
pub struct Api {
    runtime: Runtime,
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    /// Connects from `host`.
    ///
    /// # Errors
    /// When the operator does not answer, or refuses.
    pub fn connect(host: &Host, address: SocketAddr, identity: &Identity) -> Result<Api> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(identity.ca.as_bytes())?)?;
        let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        host.net.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let sender = runtime.block_on(async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::IpAddress(address.ip().into());
                let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok::<_, anyhow::Error>(sender)
            })?;
            Ok(Api { runtime, address, sender })
        })
    }

    /// The body of what the operator answers.
    ///
    /// # Errors
    /// When it refuses; its words are in the message.
    pub fn get(&self, path: &str) -> Result<Bytes> {
        self.request(Method::GET, path, Bytes::new())
    }

    /// The same, with a JSON body.
    ///
    /// # Errors
    /// When it refuses; its words are in the message.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        self.request(Method::POST, path, body.into())
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.address));
        let request = request.body(Full::new(body))?;
        self.runtime.block_on(async {
            let response = self.sender.clone().send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
            Ok(body)
        })
    }
}
