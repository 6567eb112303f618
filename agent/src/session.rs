//! The session with the operator: dialled over one underlay after another, kept for as long as it lives.

use std::{collections::BTreeMap, io, net::ToSocketAddrs, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pathsteer_crds::{
    identity::NodeIdentity,
    plan::{NodePlan, PLAN_VERSION, PlanRoot, assemble},
    report::NodeReport,
    session::{HEARTBEAT_SECONDS, HELLO_PATH, Hello, PLAN_PATH, REPORT_PATH, SessionEvent},
};
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::{
    VERSION,
    config::Config,
    state::{SavedPlan, StateDir},
    sys::netns::Netns,
    tls,
};

/// One underlay gets this long to connect and shake hands; the slowest satellite needs under two seconds.
const DIAL: Duration = Duration::from_secs(4);
/// After every candidate has failed.
const RETRY: Duration = Duration::from_secs(1);
/// HTTP/2 pings: a dead underlay is left after interval + timeout.
const PING: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot reach {operator} from {underlay}: {source}")]
    Dial { operator: String, underlay: String, source: io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the operator refused {path}: {status} {detail}")]
    Refused { path: &'static str, status: StatusCode, detail: String },
    #[error("the operator fell silent")]
    Silent,
    #[error("the operator ended the stream")]
    Ended,
    #[error("the operator sent what is not an event: {0}")]
    Event(#[from] serde_json::Error),
}

/// The agent's end of the session.
pub struct Session {
    config: Config,
    state: StateDir,
    identity: NodeIdentity,
    tls: Arc<rustls::ClientConfig>,
    /// The plan in force and its fragments.
    saved: Option<SavedPlan>,
    plans: watch::Sender<Option<NodePlan>>,
    reports: watch::Receiver<Option<NodeReport>>,
}

type Sender = http2::SendRequest<Full<Bytes>>;

impl Session {
    /// # Errors
    /// Certificate, key or authority cannot be read.
    pub fn new(
        config: Config,
        state: StateDir,
        identity: NodeIdentity,
        saved: Option<SavedPlan>,
        plans: watch::Sender<Option<NodePlan>>,
        reports: watch::Receiver<Option<NodeReport>>,
    ) -> Result<Self, tls::TlsError> {
        let tls = tls::client(&config, &state)?;
        Ok(Session { config, state, identity, tls, saved, plans, reports })
    }

    /// Dials for ever: the preferred underlay first, the next when it fails.
    pub async fn run(mut self) {
        // dialled for days, an operator that is gone would fill the log with one line
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        loop {
            for underlay in self.underlays() {
                match self.over(&underlay).await {
                    // it worked for a while: begin with the preferred one again
                    Ok(error) => {
                        tracing::warn!(underlay, %error, "session ended");
                        known.clear();
                        break;
                    }
                    Err(error) => {
                        let why = error.to_string();
                        if known.get(&underlay) != Some(&why) {
                            tracing::warn!(underlay, error = why, "no session");
                            known.insert(underlay, why);
                        }
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Namespaces from which to dial: the uplinks, cheapest first; the node's own (the empty name) where there are none.
    fn underlays(&self) -> Vec<String> {
        let plan = self.plans.borrow();
        let mut paths = plan.as_ref().map(|plan| plan.objects.paths.clone()).unwrap_or_default();
        paths.sort_by_key(|path| (path.cost, path.slot));
        if paths.is_empty() { vec![String::new()] } else { paths.into_iter().map(|path| path.netns).collect() }
    }

    /// A session over one underlay: `Err` if it never began, `Ok` with why it ended.
    async fn over(&mut self, underlay: &str) -> Result<SessionError, SessionError> {
        let mut sender = timeout(DIAL, self.dial(underlay)).await.unwrap_or(Err(SessionError::Silent))?;
        timeout(DIAL, self.hello(&mut sender)).await.unwrap_or(Err(SessionError::Silent))?;
        tracing::info!(underlay, operator = self.config.operator, "session");
        let reports = tokio::spawn(post_reports(sender.clone(), self.authority(), self.reports.clone()));
        let ended = self.follow(&mut sender).await;
        reports.abort();
        Ok(ended.err().unwrap_or(SessionError::Ended))
    }

    fn authority(&self) -> String {
        self.config.operator.trim_start_matches("https://").trim_end_matches('/').to_owned()
    }

    async fn dial(&self, underlay: &str) -> Result<Sender, SessionError> {
        let authority = self.authority();
        let fail = |source| SessionError::Dial {
            operator: authority.clone(),
            underlay: if underlay.is_empty() { "the node's own network".into() } else { underlay.to_owned() },
            source,
        };
        let stream = connect(underlay, authority.clone()).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| fail(io::Error::other(error)))?;
        let stream =
            tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(fail)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn hello(&self, sender: &mut Sender) -> Result<(), SessionError> {
        let (store_epoch, generation) =
            self.saved.as_ref().map_or((0, 0), |saved| (saved.root.store_epoch, saved.root.generation));
        let hello = Hello {
            agent_version: VERSION.to_owned(),
            plan_versions: vec![PLAN_VERSION],
            store_epoch,
            generation,
            identity: self.identity.clone(),
        };
        post(sender, &self.authority(), HELLO_PATH, &hello).await
    }

    /// Reads the plan stream until it ends.
    async fn follow(&mut self, sender: &mut Sender) -> Result<(), SessionError> {
        let revision = self.saved.as_ref().map_or(0, |saved| saved.revision);
        let request = request("GET", &self.authority(), &format!("{PLAN_PATH}?revision={revision}"), Bytes::new());
        let response = accepted(PLAN_PATH, sender.send_request(request).await?).await?;
        let mut body = response.into_body();
        let mut fragments: BTreeMap<String, String> =
            self.saved.as_ref().map(|saved| saved.fragments.clone()).unwrap_or_default();
        let mut line = Vec::new();
        let silence = Duration::from_secs(3 * HEARTBEAT_SECONDS);
        while let Some(frame) = timeout(silence, body.frame()).await.map_err(|_| SessionError::Silent)? {
            let Ok(data) = frame?.into_data() else { continue };
            for byte in data {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let event: SessionEvent = serde_json::from_slice(&std::mem::take(&mut line))?;
                self.take(event, &mut fragments);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: SessionEvent, fragments: &mut BTreeMap<String, String>) {
        match event {
            SessionEvent::Fragment { sha256, json } => {
                fragments.insert(sha256, json);
            }
            SessionEvent::Root { revision, root } => self.take_plan(revision, root, fragments),
            SessionEvent::Gone { .. } => {
                tracing::warn!(
                    "the operator has withdrawn this node's plan; the last one stays in force until `pathsteer-agent teardown`"
                );
            }
            SessionEvent::Heartbeat => {}
        }
    }

    /// A plan that is whole and newer is kept on disk and put into force; any other changes nothing.
    fn take_plan(&mut self, revision: i64, root: PlanRoot, fragments: &mut BTreeMap<String, String>) {
        let plan = match assemble(&root, fragments) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(generation = root.generation, %error, "plan refused, the last good one stays");
                return;
            }
        };
        let in_force = self.saved.as_ref().map(|saved| (saved.root.store_epoch, saved.root.generation));
        if in_force.is_some_and(|in_force| plan.order() < in_force) {
            tracing::warn!(generation = plan.generation, "older plan refused");
            return;
        }
        fragments.retain(|sha256, _| root.fragments.values().any(|named| named == sha256));
        let saved = SavedPlan { revision, root, fragments: fragments.clone() };
        if let Err(error) = self.state.save_plan(&saved) {
            tracing::error!(%error, "cannot save the plan: it is in force, but a reboot would begin with the one before");
        }
        tracing::info!(store_epoch = plan.store_epoch, generation = plan.generation, "plan");
        self.saved = Some(saved);
        self.plans.send_replace(Some(plan));
    }
}

/// A socket born in the underlay's namespace, the operator's name resolved there too.
async fn connect(underlay: &str, authority: String) -> io::Result<TcpStream> {
    let netns = if underlay.is_empty() { Netns::current()? } else { Netns::open(underlay)? };
    let runtime = tokio::runtime::Handle::current();
    let dialled = tokio::task::spawn_blocking(move || {
        netns.run(move || {
            let _entered = runtime.enter();
            let addresses: Vec<_> = authority.to_socket_addrs()?.collect();
            addresses
                .into_iter()
                .map(|address| {
                    Ok((if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? }, address))
                })
                .collect::<io::Result<Vec<_>>>()
        })
    });
    let mut last = io::Error::other("the name has no address");
    for (socket, address) in dialled.await.map_err(io::Error::other)?? {
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn post_reports(mut sender: Sender, authority: String, mut reports: watch::Receiver<Option<NodeReport>>) {
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report
            && let Err(error) = post(&mut sender, &authority, REPORT_PATH, &report).await
        {
            tracing::warn!(%error, "report");
        }
        if reports.changed().await.is_err() {
            return;
        }
    }
}

async fn post<T: serde::Serialize>(
    sender: &mut Sender,
    authority: &str,
    path: &'static str,
    body: &T,
) -> Result<(), SessionError> {
    let body = serde_json::to_vec(body)?;
    let response = sender.send_request(request("POST", authority, path, body.into())).await?;
    accepted(path, response).await.map(drop)
}

fn request(method: &str, authority: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.parse().unwrap_or_default();
    // only an authority that cannot be dialled fails here, and it was dialled
    *request.uri_mut() = format!("https://{authority}{path}").parse().unwrap_or_default();
    request.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    request
}

async fn accepted(path: &'static str, response: Response<Incoming>) -> Result<Response<Incoming>, SessionError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    Err(SessionError::Refused { path, status, detail: String::from_utf8_lossy(&body).into_owned() })
}
