//! A stand-in for an operator: mutual TLS, HTTP/2, and whatever answers a test wants.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Method, path with query, and body of a request.
pub type Asked = (String, String, String);
/// Status and body of an answer; None hangs up instead.
pub type Answer = Option<(u16, String)>;

/// A certificate authority of its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Files of a user of this authority, as the program's configuration; the server comes by flag.
    pub fn user(&self, folder: &Path) -> PathBuf {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        for (name, text) in [("ca.crt", self.0.pem()), ("me.crt", certificate.pem()), ("me.key", key.serialize_pem())] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let config = folder.join("config.yaml");
        std::fs::write(&config, "ca: ca.crt\ncert: me.crt\nkey: me.key\n").unwrap();
        config
    }
}

/// A running stand-in; ends with the test.
pub struct StandIn {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    /// Answers every request with what `answer` says.
    pub fn start(authority: &Authority, answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> StandIn {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(serve(listener, tls(authority), Arc::clone(&asked), Arc::new(Mutex::new(answer))));
        StandIn { address, asked, _runtime: runtime }
    }

    /// Runs the program against this server.
    pub fn pathsteer(&self, config: &Path, arguments: &[&str]) -> (i32, String, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_pathsteer"))
            .args(arguments)
            .arg("--server")
            .arg(format!("https://{}", self.address))
            .env_clear()
            .env("PATHSTEER_CONFIG", config)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn tls(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<F: FnMut(&Asked) -> Answer + Send + 'static>(
    listener: TcpListener,
    tls: TlsAcceptor,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<F>>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, asked, answer) = (tls.clone(), Arc::clone(&asked), Arc::clone(&answer));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(socket).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                async move {
                    let method = request.method().to_string();
                    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let one = (method, path, String::from_utf8(body.to_vec()).unwrap());
                    let said = answer.lock().unwrap()(&one);
                    asked.lock().unwrap().push(one);
                    match said {
                        Some((status, body)) => {
                            Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
                        }
                        None => Err(std::io::Error::other("hung up")),
                    }
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(connection.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// An answer that is never needed.
pub fn silent(_: &Asked) -> Answer {
    None
}
