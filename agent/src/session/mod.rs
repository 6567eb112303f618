//! The session with the operator: dialled over one underlay after another, kept for as long as it lives.

mod exchange;
mod in_force;
mod log;
mod names;

pub use in_force::InForce;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::select_ok;
use http_body_util::BodyExt;
use hyper::{StatusCode, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use pathsteer_agent_core::Resolvers;
use pathsteer_crds::{
    identity::NodeIdentity,
    plan::{NodePlan, PLAN_VERSION, PathSpec},
    report::NodeReport,
    session::{HEARTBEAT_SECONDS, HELLO_PATH, Hello, LogAnswer, PLAN_PATH, SessionEvent},
};
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::timeout,
};

use self::exchange::{Reporter, Sender, accepted, post, request};
use crate::{
    config::Config,
    log::Log,
    state::StateDir,
    sys::netns::{Netns, NetnsId},
    tls,
};

/// One underlay gets this long to connect and shake hands; the slowest satellite needs under two seconds.
const DIAL: Duration = Duration::from_secs(4);
/// And so long before that to find out where its operator is: three resolvers that stay silent, then the node's own.
const RESOLVE: Duration = Duration::from_secs(10);
/// After every candidate has failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often a session looks whether its namespace is still there.
const LOOK: Duration = Duration::from_secs(1);
/// So long after a plan that was not whole the stream is read from its beginning: what was damaged on its way, or has been
/// put right in the store since, does not come again in the same stream. A whole plan each time, so not often.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// HTTP/2 pings: a dead underlay is left after interval + timeout. Not where bytes cost money: they are 4 MB a day.
const PING: Duration = Duration::from_secs(5);
/// A metered underlay that is dead is noticed by what is sent and not acknowledged for so long; or else by a heartbeat
/// that does not come.
const UNACKNOWLEDGED_MS: u32 = 10_000;
/// Seconds between heartbeats over a metered underlay: 225 kB a day.
const METERED_HEARTBEAT_SECONDS: u64 = 60;
/// How much later than it should a heartbeat may come.
const LATE: Duration = Duration::from_secs(20);
/// What has only grown, such as byte counts, is reported so often; and over a metered underlay.
const QUIET: Duration = Duration::from_secs(10);
const METERED_QUIET: Duration = Duration::from_secs(600);
/// What never stops changing is reported so often; and over a metered underlay.
const PACE: Duration = Duration::from_secs(1);
const METERED_PACE: Duration = Duration::from_secs(5);

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
    #[error("the last plan was not whole: asking for all of it again")]
    NotWhole,
    #[error("the operator ended the stream")]
    Ended,
    #[error("the namespace of its uplink was deleted")]
    Gone,
    #[error("the plan says something else about what its bytes cost")]
    Metered,
    #[error("the operator sent what is not an event: {0}")]
    Event(#[from] serde_json::Error),
}

/// The agent's end of the session.
pub struct Session {
    config: Config,
    /// What the operator is to know, and what it has been told.
    identity: watch::Receiver<NodeIdentity>,
    told: watch::Sender<NodeIdentity>,
    tls: Arc<rustls::ClientConfig>,
    in_force: InForce,
    reports: watch::Receiver<Option<NodeReport>>,
    log: Log,
    /// By the namespace of the uplink.
    resolvers: watch::Receiver<BTreeMap<String, Resolvers>>,
    /// Of which plan the operator has heard, by store epoch and generation.
    heard: watch::Sender<(u64, i64)>,
    /// The uplinks are none of this machine's.
    only_home: bool,
}

impl Session {
    /// # Errors
    /// Certificate, key or authority cannot be read.
    pub fn new(
        config: Config,
        state: &StateDir,
        (identity, told): (watch::Receiver<NodeIdentity>, watch::Sender<NodeIdentity>),
        in_force: InForce,
        (reports, log): (watch::Receiver<Option<NodeReport>>, Log),
        resolvers: watch::Receiver<BTreeMap<String, Resolvers>>,
    ) -> Result<Self, tls::TlsError> {
        let tls = tls::client(&config, state)?;
        let heard = watch::Sender::new((0, 0));
        Ok(Session { config, identity, told, tls, in_force, reports, log, resolvers, heard, only_home: false })
    }

    /// The same session, dialled from the network that this program itself is in and from no uplink.
    pub fn only_from_home(self) -> Self {
        Session { only_home: true, ..self }
    }

    /// Of which plan the operator has heard, by store epoch and generation, each time it takes a report.
    pub fn heard(&self) -> watch::Receiver<(u64, i64)> {
        self.heard.subscribe()
    }

    /// Dials for ever, and goes back to the plan before when the operator cannot be told of the one in force.
    pub async fn run(mut self) {
        // dialled for days, an operator that is gone would fill the log with one line
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let expired = expired(self.in_force.deadlines());
            tokio::select! {
                () = self.round(&mut known) => {}
                () = expired => self.in_force.expire(),
            }
        }
    }

    /// The preferred underlay first, the next when it fails.
    async fn round(&mut self, known: &mut BTreeMap<String, String>) {
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

    /// Namespaces from which to dial: the uplinks, cheapest first, and the node's own (the empty name), which may have a
    /// network that is none of ours.
    fn underlays(&self) -> Vec<String> {
        let mut paths = if self.only_home { Vec::new() } else { self.in_force.paths() };
        paths.sort_by_key(|path| (path.cost, path.slot));
        paths.into_iter().map(|path| path.netns).chain([String::new()]).collect()
    }

    /// A session over one underlay: `Err` if it never began, `Ok` with why it ended.
    async fn over(&mut self, underlay: &str) -> Result<SessionError, SessionError> {
        let begun_in = netns_of(underlay).and_then(|netns| netns.id()).ok();
        let metered = is_metered(&self.in_force.paths(), underlay);
        let mut sender = self.dial(underlay, metered).await?;
        let hello = self.hello(metered);
        let greeted = timeout(DIAL, post(&mut sender, &self.authority(), HELLO_PATH, &hello)).await;
        greeted.unwrap_or(Err(SessionError::Silent))?;
        self.told.send_replace(hello.identity.clone());
        tracing::info!(underlay, metered, operator = self.config.operator, "session");
        let (quiet, every) = if metered { (METERED_QUIET, METERED_PACE) } else { (QUIET, PACE) };
        let mut hears = self.heard.subscribe();
        let plans = self.in_force.plans();
        let reporter = Reporter::new(sender.clone(), self.authority(), (quiet, every), self.heard.clone());
        let reports = tokio::spawn(reporter.run(self.reports.clone()));
        let tellings =
            tokio::spawn(tell(sender.clone(), self.authority(), hello, self.identity.clone(), self.told.clone()));
        let ended = tokio::select! {
            ended = self.follow(&mut sender, metered, &mut hears) => ended.err().unwrap_or(SessionError::Ended),
            () = gone(underlay, begun_in) => SessionError::Gone,
            () = remetered(plans, underlay, metered) => SessionError::Metered,
        };
        reports.abort();
        tellings.abort();
        Ok(ended)
    }

    fn authority(&self) -> String {
        self.config.operator.trim_start_matches("https://").trim_end_matches('/').to_owned()
    }

    async fn dial(&self, underlay: &str, metered: bool) -> Result<Sender, SessionError> {
        let authority = self.authority();
        let fail = |source| SessionError::Dial {
            operator: authority.clone(),
            underlay: if underlay.is_empty() { "the node's own network".into() } else { underlay.to_owned() },
            source,
        };
        let (host, port) = split(&authority).map_err(fail)?;
        let resolvers = self.resolvers.borrow().get(underlay).cloned().unwrap_or_default();
        let found = timeout(RESOLVE, find(underlay, resolvers, host.to_owned())).await;
        let found = found.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the name is not resolved")));
        let addresses = found.map_err(fail)?.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let shaken = async {
            let stream = connect(underlay, addresses).await.map_err(fail)?;
            let from = stream.local_addr().map_err(fail)?.ip();
            if underlay.is_empty() && self.in_force.leads_through_uplinks(from) {
                // which of them, nobody here knows, nor what its bytes cost; and each of them has just been tried
                return Err(fail(io::Error::other("it leads through the uplinks")));
            }
            stream.set_nodelay(true).map_err(fail)?;
            setsockopt(&stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS).map_err(|errno| fail(errno.into()))?;
            let name = ServerName::try_from(host.to_owned()).map_err(|error| fail(io::Error::other(error)))?;
            let stream =
                tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(fail)?;
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval((!metered).then_some(PING))
                .keep_alive_timeout(PING)
                .keep_alive_while_idle(true)
                .handshake(TokioIo::new(stream))
                .await?;
            tokio::spawn(connection);
            Ok(sender)
        };
        timeout(DIAL, shaken).await.unwrap_or(Err(SessionError::Silent))
    }

    fn hello(&self, metered: bool) -> Hello {
        let (store_epoch, generation) = self.in_force.order();
        Hello {
            agent_version: pathsteer_wireguard::version(),
            plan_versions: vec![PLAN_VERSION],
            store_epoch,
            generation,
            identity: self.identity.borrow().clone(),
            heartbeat_seconds: metered.then_some(METERED_HEARTBEAT_SECONDS),
        }
    }

    /// Reads the plan stream until it ends, and which plans the operator `hears` of.
    async fn follow(
        &mut self,
        sender: &mut Sender,
        metered: bool,
        hears: &mut watch::Receiver<(u64, i64)>,
    ) -> Result<(), SessionError> {
        let revision = self.in_force.revision();
        let request = request("GET", &self.authority(), &format!("{PLAN_PATH}?revision={revision}"), Bytes::new());
        let response = accepted(PLAN_PATH, sender.send_request(request).await?).await?;
        let mut body = response.into_body();
        let mut fragments = self.in_force.fragments();
        let mut line = Vec::new();
        let heartbeat = if metered { METERED_HEARTBEAT_SECONDS } else { HEARTBEAT_SECONDS };
        let silence = Duration::from_secs(heartbeat) + LATE;
        let mut alive = tokio::time::Instant::now();
        let mut refused: Option<tokio::time::Instant> = None;
        loop {
            let (late, why) = match refused {
                Some(refused) => (refused + READ_AGAIN, SessionError::NotWhole),
                None => (alive + silence, SessionError::Silent),
            };
            let frame = tokio::select! {
                frame = body.frame() => frame,
                Ok(()) = hears.changed() => {
                    let order = *hears.borrow_and_update();
                    self.in_force.heard(order);
                    continue;
                }
                () = tokio::time::sleep_until(late) => return Err(why),
            };
            let Some(frame) = frame else { return Ok(()) };
            alive = tokio::time::Instant::now();
            let Ok(data) = frame?.into_data() else { continue };
            let mut pieces = data.split(|byte| *byte == b'\n');
            line.extend_from_slice(pieces.next().unwrap_or_default());
            for piece in pieces {
                let event: SessionEvent = serde_json::from_slice(&line)?;
                line = piece.to_vec();
                self.take(event, sender, &mut fragments, &mut refused);
            }
        }
    }

    fn take(
        &mut self,
        event: SessionEvent,
        sender: &Sender,
        fragments: &mut BTreeMap<String, String>,
        refused: &mut Option<tokio::time::Instant>,
    ) {
        match event {
            SessionEvent::Fragment { sha256, json } => {
                fragments.insert(sha256, json);
            }
            SessionEvent::Root { revision, root } => {
                let taken = self.in_force.take(revision, root, fragments);
                *refused = taken.is_err().then(tokio::time::Instant::now);
            }
            SessionEvent::Gone { .. } => {
                tracing::warn!(
                    "the operator has withdrawn this node's plan; the last one stays in force until `pathsteer-agent teardown`"
                );
            }
            SessionEvent::Log { request, after, tail } => {
                let answer = LogAnswer { request, page: self.log.page(after, tail) };
                tokio::spawn(log::answer(sender.clone(), self.authority(), answer));
                // asked often enough, it hears no heartbeats
                self.in_force.save_again();
            }
            SessionEvent::Heartbeat => self.in_force.save_again(),
            SessionEvent::Unknown => {}
        }
    }
}

/// Returns once a deadline has passed that was not put off meanwhile.
async fn expired(mut deadlines: watch::Receiver<Option<Instant>>) {
    loop {
        let due = *deadlines.borrow_and_update();
        let passed = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passed => return,
            // whoever sets deadlines lives as long as the session
            changed = deadlines.changed() => if changed.is_err() { std::future::pending().await },
        }
    }
}

fn is_metered(paths: &[PathSpec], underlay: &str) -> bool {
    paths.iter().any(|path| path.netns == underlay && path.metered)
}

/// Returns once a plan says of `underlay` something else than `metered`: a session sends as much as it was begun to.
async fn remetered(mut plans: watch::Receiver<Option<NodePlan>>, underlay: &str, metered: bool) {
    let paths = |plan: &Option<NodePlan>| plan.as_ref().map(|plan| is_metered(&plan.objects.paths, underlay));
    if plans.wait_for(|plan| paths(plan).is_some_and(|now| now != metered)).await.is_err() {
        std::future::pending().await
    }
}

/// The namespace to dial from; the empty name is the node's own.
fn netns_of(underlay: &str) -> io::Result<Netns> {
    if underlay.is_empty() { Netns::current() } else { Netns::open(underlay) }
}

/// Returns once `underlay` is no longer the namespace that a session began in. The session's connection would keep that
/// one alive for as long as it works, and with it the card that the next one waits for.
async fn gone(underlay: &str, begun_in: Option<NetnsId>) {
    while netns_of(underlay).and_then(|netns| netns.id()).ok() == begun_in {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the operator of every other identity than that in `hello`, as long as the session lasts. What it could not be told
/// the next session tells.
async fn tell(
    mut sender: Sender,
    authority: String,
    mut hello: Hello,
    mut identity: watch::Receiver<NodeIdentity>,
    told: watch::Sender<NodeIdentity>,
) {
    while identity.wait_for(|identity| *identity != hello.identity).await.is_ok() {
        hello.identity = identity.borrow_and_update().clone();
        match post(&mut sender, &authority, HELLO_PATH, &hello).await {
            Ok(()) => drop(told.send_replace(hello.identity.clone())),
            Err(error) => return tracing::warn!(%error, "the operator is not told of a key"),
        }
    }
}

/// Host and port of `HOST:PORT`; an IPv6 address stands in brackets.
fn split(authority: &str) -> io::Result<(&str, u16)> {
    let parts = authority.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
    parts.ok_or_else(|| io::Error::other("this is not HOST:PORT"))
}

/// Where the operator is, as the underlay's resolvers know it.
async fn find(underlay: &str, resolvers: Resolvers, host: String) -> io::Result<Vec<IpAddr>> {
    let netns = netns_of(underlay)?;
    let found = tokio::task::spawn_blocking(move || names::resolve(&netns, &resolvers, &host));
    found.await.map_err(io::Error::other)?
}

/// A connection by a socket born in the underlay's namespace.
async fn connect(underlay: &str, addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let netns = netns_of(underlay)?;
    let runtime = tokio::runtime::Handle::current();
    let dialled = tokio::task::spawn_blocking(move || {
        netns.run(move || {
            let _entered = runtime.enter();
            addresses
                .into_iter()
                .map(|address| {
                    Ok((if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? }, address))
                })
                .collect::<io::Result<Vec<_>>>()
        })
    });
    // all at once: of two families one may be there and lead nowhere
    let dialled = dialled.await.map_err(io::Error::other)??;
    let dialled: Vec<_> = dialled.into_iter().map(|(socket, address)| Box::pin(socket.connect(address))).collect();
    if dialled.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(select_ok(dialled).await?.0)
}
