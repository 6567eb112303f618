//! A client of the API: one HTTP/2 connection per request, over mutual TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ETAG, IF_MATCH, RETRY_AFTER};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// How long a stream may take to bring what a test waits for.
const DEADLINE: Duration = Duration::from_secs(90);

/// What proves who we are, and whom we believe; PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

pub struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    runtime: Runtime,
}

impl Client {
    pub fn new(address: SocketAddr, identity: &Identity) -> Client {
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(&identity.ca)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate(&identity.certificate)],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Client { address, tls: TlsConnector::from(Arc::new(config)), runtime }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, Value::Null)
    }

    pub fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::PUT, path, body)
    }

    pub fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::POST, path, body)
    }

    pub fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::PATCH, path, body)
    }

    pub fn delete(&self, path: &str) -> (u16, Value) {
        self.request(Method::DELETE, path, Value::Null)
    }

    /// Sends `body` on top of what `base` names; the status, and the name of what there is then.
    pub fn tagged(&self, method: &str, path: &str, base: Option<&str>, body: &Value) -> (u16, Option<String>) {
        let method = method.parse().unwrap();
        let answer = self.runtime.block_on(self.send(method, path, body.clone(), base)).unwrap();
        let name = answer.headers().get(ETAG).map(|name| name.to_str().unwrap().to_owned());
        (answer.status().as_u16(), name)
    }

    /// Status and body; a request that cannot even be made is status 0 and the reason.
    fn request(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let answered = async {
            match self.send(method, path, body, None).await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
                    (status, serde_json::from_slice(&bytes).unwrap_or_default())
                }
                Err(error) => (0, Value::String(error)),
            }
        };
        // A refusal that is none may be a stream without an end.
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, answered).await })
            .unwrap_or_else(|_| panic!("{path} has not ended within {DEADLINE:?}"))
    }

    /// Asks for `path` so many times over one connection, as fast as it goes: each status, and the seconds of `Retry-After`.
    pub fn many(&self, path: &str, times: usize) -> Vec<(u16, Option<u64>)> {
        self.runtime.block_on(async {
            let mut sender = self.connect().await.unwrap();
            let mut answers = Vec::new();
            for _ in 0..times {
                sender.ready().await.unwrap();
                let request = Request::builder().uri(format!("https://{}{path}", self.address));
                let answer = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
                let wait = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
                answers.push((answer.status().as_u16(), wait));
            }
            answers
        })
    }

    /// Sends the beginning of a body and no more of it; the status of the answer.
    pub fn begin_a_body_and_stop(&self, path: &str) -> u16 {
        self.runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::IpAddress(self.address.ip().into());
            let mut tls = tokio_rustls::rustls::ClientConfig::clone(self.tls.config());
            tls.alpn_protocols.clear();
            let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, socket).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
            String::from_utf8_lossy(&answer[9..]).parse().unwrap()
        })
    }

    /// A stream of lines, for as long as it is kept.
    pub fn lines(self, path: &str) -> Lines {
        let body = self.runtime.block_on(self.send(Method::GET, path, Value::Null, None)).unwrap().into_body();
        Lines { runtime: self.runtime, body, rest: Vec::new(), deadline: Instant::now() + DEADLINE }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Value,
        base: Option<&str>,
    ) -> Result<Response<Incoming>, String> {
        let mut sender = self.connect().await?;
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.address));
        if let Some(base) = base {
            request = request.header(IF_MATCH, base);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        sender.send_request(request.body(Full::new(body)).unwrap()).await.map_err(|e| e.to_string())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let socket = tokio::net::TcpStream::connect(self.address).await.map_err(|e| text(&e))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = self.tls.connect(name, socket).await.map_err(|e| text(&e))?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| text(&e))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

pub struct Lines {
    runtime: Runtime,
    body: Incoming,
    rest: Vec<u8>,
    deadline: Instant,
}

impl Iterator for Lines {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            // A heartbeat comes every ten seconds, so this ends.
            assert!(Instant::now() < self.deadline, "what was waited for has not come within {DEADLINE:?}");
            let frame = self.runtime.block_on(self.body.frame())?.ok()?;
            self.rest.extend_from_slice(frame.data_ref()?);
        }
    }
}
