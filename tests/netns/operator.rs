//! As much of an operator as an agent needs: it greets, takes reports and changes of them, and sends heartbeats and what a
//! case lets it send.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream::poll_fn;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ETAG, IF_MATCH};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pathsteer_crds::plan::PlanRoot;
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::session::{HEARTBEAT_SECONDS, HELLO_PATH, Hello, PLAN_PATH, REPORT_PATH, SessionEvent};
use pathsteer_crds::{canonical, merge_patch};
use pathsteer_lab::host::Host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

/// A running stand-in. It ends with the test's process.
pub struct Operator {
    heard: Arc<Mutex<Heard>>,
}

/// What agents have said, and the streams that they listen to.
#[derive(Debug, Default)]
struct Heard {
    hellos: Vec<Hello>,
    streams: Vec<mpsc::UnboundedSender<String>>,
    heartbeat: u64,
    /// The last report, all changes applied.
    report: Value,
    posts: Vec<Post>,
}

/// A report, or a change of one.
#[derive(Debug, Clone)]
pub struct Post {
    pub method: String,
    pub body: Value,
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
        let heard = Arc::default();
        let operator = Operator { heard: Arc::clone(&heard) };
        host.net.thread("operator", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(address, acceptor, heard))
        })?;
        Ok(operator)
    }

    /// The last report.
    pub fn report(&self) -> Option<NodeReport> {
        serde_json::from_value(lock(&self.heard).report.clone()).ok()
    }

    /// Everything that was posted, in order.
    pub fn posts(&self) -> Vec<Post> {
        lock(&self.heard).posts.clone()
    }

    /// The order of the plan in hand that each session began with.
    pub fn sessions(&self) -> Vec<(u64, i64)> {
        lock(&self.heard).hellos.iter().map(|hello| (hello.store_epoch, hello.generation)).collect()
    }

    /// The seconds between heartbeats that each session asked for, if it did.
    pub fn heartbeats(&self) -> Vec<Option<u64>> {
        lock(&self.heard).hellos.iter().map(|hello| hello.heartbeat_seconds).collect()
    }

    /// How many plan streams there have been.
    pub fn streams(&self) -> usize {
        lock(&self.heard).streams.len()
    }

    /// Sends a line to the last session.
    pub fn say(&self, line: impl Into<String>) {
        // one whose session has ended reaches nobody, which the case will notice
        let _sent = lock(&self.heard).streams.last().map(|stream| stream.send(line.into() + "\n"));
    }

    /// Sends a plan to the last session.
    pub fn send(&self, (root, fragments): (PlanRoot, BTreeMap<String, String>)) -> Result<()> {
        for (sha256, json) in fragments {
            self.say(serde_json::to_string(&SessionEvent::Fragment { sha256, json })?);
        }
        let revision = root.generation;
        self.say(serde_json::to_string(&SessionEvent::Root { revision, root })?);
        Ok(())
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(address: SocketAddr, acceptor: TlsAcceptor, heard: Arc<Mutex<Heard>>) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request| answer(request, Arc::clone(&heard)));
            // An agent that leaves is no failure here.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(request: Request<Incoming>, heard: Arc<Mutex<Heard>>) -> Result<Response<Body>, hyper::Error> {
    let (path, method) = (request.uri().path().to_owned(), request.method().to_string());
    let base = request.headers().get(IF_MATCH).and_then(|base| base.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = Response::new(Full::default().boxed());
    let mut heard = lock(&heard);
    match path.as_str() {
        HELLO_PATH => {
            heard.heartbeat = body["heartbeatSeconds"].as_u64().unwrap_or(HEARTBEAT_SECONDS);
            heard.hellos.extend(serde_json::from_value::<Hello>(body));
        }
        PLAN_PATH => {
            let (lines, mut said) = mpsc::unbounded_channel::<String>();
            tokio::spawn(heartbeats(heard.heartbeat, lines.clone()));
            heard.streams.push(lines);
            let frame = |line: String| Ok::<_, Infallible>(Frame::data(Bytes::from(line)));
            let said = poll_fn(move |context| said.poll_recv(context).map(|line| line.map(frame)));
            *response.body_mut() = StreamBody::new(said).boxed();
        }
        REPORT_PATH => {
            heard.posts.push(Post { method: method.clone(), body: body.clone() });
            let before = std::mem::take(&mut heard.report);
            let name = |report: &Value| format!("\"{}\"", canonical::sha256(report.to_string().as_bytes()));
            if method == "PATCH" && base.as_deref() != Some(&*name(&before)) {
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
                return Ok(response);
            }
            heard.report = if method == "PATCH" { merge_patch::apply(before, body) } else { body };
            if let Ok(name) = name(&heard.report).parse() {
                response.headers_mut().insert(ETAG, name);
            }
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// Until nobody listens any more.
async fn heartbeats(seconds: u64, lines: mpsc::UnboundedSender<String>) {
    let line = "{\"type\":\"heartbeat\"}\n";
    while lines.send(line.to_owned()).is_ok() {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}
