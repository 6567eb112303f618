//! Connecting to etcd.

use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

/// How often an idle connection is probed, and how long an answer may take. Without it a watch over a connection that
/// died silently hangs for ever. etcd answers probes more frequent than 5 s by closing the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where etcd is and how to prove who we are.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub endpoints: Vec<String>,
    /// Certificate of the authority that signed etcd's certificates, PEM file.
    pub ca: Option<PathBuf>,
    /// Our certificate and key, PEM files; both or neither.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("etcd's addresses ({endpoints}) or certificates are not usable")]
    Unusable { endpoints: String, source: Box<etcd_client::Error> },
    #[error("--etcd-cert and --etcd-key belong together: give both")]
    HalfIdentity,
}

/// What an error of etcd's says, and what caused it at last: its own text repeats that in the words of five crates.
pub(super) fn words(error: &etcd_client::Error) -> String {
    let etcd_client::Error::GRpcStatus(status) = error else { return error.to_string() };
    let mut cause = status.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    match cause.map(ToString::to_string) {
        Some(cause) if !status.message().contains(&cause) => format!("{}: {cause}", status.message()),
        _ => status.message().to_owned(),
    }
}

/// A client for `cluster`. Connects when first used, and again whenever the connection is lost.
///
/// # Errors
/// Unreadable or unusable certificates or addresses.
pub async fn connect(cluster: &Cluster) -> Result<Client, ConnectError> {
    let mut options = ConnectOptions::new()
        .with_keep_alive(KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT)
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(CONNECT_TIMEOUT)
        // A watch of a member that is cut off from the others would stay silent without an error.
        .with_require_leader(true);
    let read =
        |path: &PathBuf| fs::read_to_string(path).map_err(|source| ConnectError::Read { path: path.clone(), source });
    let mut tls = TlsOptions::new();
    if let Some(ca) = &cluster.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    match (&cluster.certificate, &cluster.key) {
        (Some(certificate), Some(key)) => tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?)),
        (None, None) => {}
        _ => return Err(ConnectError::HalfIdentity),
    }
    if cluster.ca.is_some() || cluster.certificate.is_some() {
        options = options.with_tls(tls);
    }
    Client::connect(&cluster.endpoints, Some(options))
        .await
        .map_err(|source| ConnectError::Unusable { endpoints: cluster.endpoints.join(","), source: Box::new(source) })
}
