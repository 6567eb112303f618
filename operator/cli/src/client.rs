//! HTTP/2 over mutual TLS to the operator: one connection, dialled when first needed and again when it is gone.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pathsteer_crds::api::Problem;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::follow::Lines;
use crate::refusal;
use crate::settings::Settings;

/// A healthy operator answers within milliseconds; this is for one behind a bad uplink.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough for an apply of some thousand objects.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not a server: write https://HOST:PORT")]
    Server(String),
    #[error("{}: {source}", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{} and {} cannot be used: {source}", cert.display(), key.display())]
    Identity { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{} holds no certificate authority", .0.display())]
    Authority(PathBuf),
    #[error("cannot reach {server}: {source} (is the operator running there? see --server)")]
    Unreachable { server: String, source: std::io::Error },
    #[error("no trusted connection to {server}: {source}{}", refusal::tls_fix(source))]
    Tls { server: String, source: std::io::Error },
    #[error("{server} has not answered for {} s (is it reachable, and is it an operator?)", after.as_secs())]
    Timeout { server: String, after: Duration },
    #[error("the connection to {server} broke: {}{}", refusal::chain(source), refusal::broken_fix(*before_any_answer))]
    Broken { server: String, before_any_answer: bool, source: hyper::Error },
    #[error("{}", refusal::text(.0))]
    Refused(Box<Problem>),
    #[error("{server} answered {status} to {path}, and nothing an operator would say (is it one?)")]
    NoOperator { server: String, status: StatusCode, path: String },
    #[error("{server} answered {path} in a form this version does not read: {source}")]
    Unreadable { server: String, path: String, source: serde_json::Error },
}

impl ClientError {
    /// The operator says there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused(problem) if problem.status == StatusCode::NOT_FOUND.as_u16())
    }

    /// The operator says that whoever has to be there for an answer is not, for now.
    pub fn is_unavailable(&self) -> bool {
        let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        matches!(self, ClientError::Refused(problem) if passing.iter().any(|status| *status == problem.status))
    }

    /// What was sent is not valid, in words.
    pub fn invalid(&self) -> Option<String> {
        match self {
            ClientError::Refused(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() => {
                Some(refusal::text(problem))
            }
            _ => None,
        }
    }

    /// The settings are wrong: nobody was asked anything yet.
    pub fn is_of_settings(&self) -> bool {
        use ClientError::{Authority, Identity, Pem, Server};
        matches!(self, Server(_) | Pem { .. } | Identity { .. } | Authority(_))
    }

    /// Trying again may help: the operator may be restarting.
    pub fn is_passing(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::Broken { .. })
    }
}

/// The way to one operator.
pub struct Client {
    server: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client that has not dialled yet.
    ///
    /// # Errors
    /// A server that is no https URL, or certificates that cannot be read or used.
    pub fn new(settings: &Settings) -> Result<Client, ClientError> {
        let (host, port) = split_server(&settings.server)?;
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(host.clone()).map_err(|_| ClientError::Server(settings.server.clone()))?,
        };
        let tls = TlsConnector::from(Arc::new(tls_config(settings)?));
        Ok(Client { server: settings.server.clone(), host, port, name, tls, connection: None })
    }

    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    pub async fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, path, Bytes::new()).await.map(drop)
    }

    pub async fn put<T: DeserializeOwned>(&mut self, path: &str, body: String) -> Result<T, ClientError> {
        self.request(Method::PUT, path, body.into()).await
    }

    /// An answer that goes on. The connection is given up to it.
    pub async fn follow(&mut self, path: &str) -> Result<Lines, ClientError> {
        let (body, connection) = self.ask(Method::GET, path, Bytes::new()).await?;
        self.connection = Some(connection);
        Ok(Lines { server: self.server.clone(), path: path.to_owned(), body, rest: Vec::new() })
    }

    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: String) -> Result<T, ClientError> {
        self.request(Method::POST, path, body.into()).await
    }

    async fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.send(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|source| ClientError::Unreadable {
            server: self.server.clone(),
            path: path.to_owned(),
            source,
        })
    }

    /// The whole body of a successful answer.
    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let (body, connection) = self.ask(method, path, body).await?;
        let server = self.server.clone();
        let answer = within(REQUEST_TIMEOUT, &server, collected(&server, body)).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// The beginning of a successful answer.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Incoming, SendRequest<Full<Bytes>>), ClientError> {
        let kept = self.connection.take().filter(SendRequest::is_ready);
        let before_any_answer = kept.is_none();
        let mut connection = match kept {
            Some(connection) => connection,
            None => within(DIAL_TIMEOUT, &self.server, self.dial()).await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}:{}{path}", bracketed(&self.host), self.port))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|_| ClientError::Server(self.server.clone()))?;
        let broken = |source| ClientError::Broken { server: self.server.clone(), before_any_answer, source };
        let asked = async { connection.send_request(request).await.map_err(broken) };
        let answer = within(REQUEST_TIMEOUT, &self.server, asked).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok((answer.into_body(), connection));
        }
        let said = within(REQUEST_TIMEOUT, &self.server, collected(&self.server, answer.into_body())).await?;
        self.connection = Some(connection);
        Err(match serde_json::from_slice::<Problem>(&said) {
            Ok(problem) if !problem.title.is_empty() || !problem.detail.is_empty() => {
                ClientError::Refused(Box::new(Problem { status: status.as_u16(), ..problem }))
            }
            _ => ClientError::NoOperator { server: self.server.clone(), status, path: path.to_owned() },
        })
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let server = || self.server.clone();
        let socket = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| ClientError::Unreachable { server: server(), source })?;
        // Else a second request waits for the delayed acknowledgement of the first answer: 40 ms.
        socket.set_nodelay(true).map_err(|source| ClientError::Unreachable { server: server(), source })?;
        let stream = self
            .tls
            .connect(self.name.clone(), socket)
            .await
            .map_err(|source| ClientError::Tls { server: server(), source })?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Broken { server: server(), before_any_answer: true, source })?;
        // Its error reaches whoever sends a request; nobody else would hear it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

async fn collected(server: &str, body: Incoming) -> Result<Bytes, ClientError> {
    let broken = |source| ClientError::Broken { server: server.to_owned(), before_any_answer: false, source };
    Ok(body.collect().await.map_err(broken)?.to_bytes())
}

async fn within<T>(
    limit: Duration,
    server: &str,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Timeout { server: server.to_owned(), after: limit }),
    }
}

fn split_server(server: &str) -> Result<(String, u16), ClientError> {
    let bad = || ClientError::Server(server.to_owned());
    let uri: Uri = server.parse().map_err(|_| bad())?;
    if uri.scheme_str() != Some("https") || uri.path() != "/" || uri.query().is_some() {
        return Err(bad());
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    let port = uri.port_u16();
    // What is neither host nor port: a user, or a port that is no number.
    if uri.authority().map(|authority| authority.as_str()) != Some(&with_port(host, port)) {
        return Err(bad());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port.unwrap_or(443)))
}

fn with_port(host: &str, port: Option<u16>) -> String {
    port.map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| ClientError::Pem { path: path.to_owned(), source })
}

fn tls_config(settings: &Settings) -> Result<rustls::ClientConfig, ClientError> {
    let Settings { server: _, ca, cert, key } = settings;
    let mut roots = rustls::RootCertStore::empty();
    if roots.add_parsable_certificates(certificates(ca)?).0 == 0 {
        return Err(ClientError::Authority(ca.clone()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| ClientError::Pem { path: key.clone(), source })?;
    let identity = |source| ClientError::Identity { cert: cert.clone(), key: key.clone(), source };
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(identity)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(cert)?, private)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_https_url_with_a_host_and_perhaps_a_port() {
        assert_eq!(split_server("https://127.0.0.1:7443").unwrap(), ("127.0.0.1".to_owned(), 7443));
        assert_eq!(split_server("https://[::1]:7443/").unwrap(), ("::1".to_owned(), 7443));
        assert_eq!(split_server("https://operator.example").unwrap(), ("operator.example".to_owned(), 443));
        for wrong in
            ["http://127.0.0.1:7443", "127.0.0.1:7443", "https://", "https://a/b", "", "https://a:x", "https://me@a:1"]
        {
            assert!(split_server(wrong).is_err(), "{wrong}");
        }
    }
}
