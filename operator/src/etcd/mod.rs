//! A private etcd beside the operator: the store of an installation without an etcd cluster of its own.
//!
//! It listens on loopback only, speaks mutual TLS with certificates nobody else has, lives in a folder of mode 0700,
//! and dies with the operator.

mod binary;
mod child;
mod credentials;
mod environment;
mod ports;

use std::io;
use std::path::{Path, PathBuf};

pub use credentials::Credentials;
pub use environment::{EnvironmentError, running, shell_exports};

use crate::pki::private_file;
use crate::store::Cluster;
use ports::Ports;

/// Most operations of one transaction: an apply of as many bytes as the API takes, in small objects.
const TRANSACTION_OPERATIONS: usize = 100_000;
/// Largest request, bytes: the largest apply that the API takes.
const REQUEST_BYTES: usize = 32 << 20;

/// Why the private etcd does not run.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error(transparent)]
    Binary(#[from] binary::BinaryError),
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    #[error("cannot prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that keeps etcd running")]
    Thread(#[source] io::Error),
}

/// The private etcd, running.
#[derive(Debug)]
pub struct PrivateEtcd {
    pub endpoint: String,
    pub credentials: Credentials,
    child: child::Supervised,
}

impl PrivateEtcd {
    /// Starts etcd with its data below `data_dir`/etcd, which may grow to `quota` bytes (none: etcd's own limit). Returns at
    /// once; it answers about a second later.
    ///
    /// # Errors
    /// The folder, the program or its certificates cannot be written.
    pub fn start(data_dir: &Path, quota: Option<u64>) -> Result<PrivateEtcd, EtcdError> {
        let folder = folder(data_dir);
        let pki = folder.join("pki");
        let prepare = |path: &Path, result: io::Result<()>| {
            result.map_err(|source| EtcdError::Prepare { path: path.to_owned(), source })
        };
        prepare(&folder, private_file::folder(&folder))?;
        prepare(&pki, private_file::folder(&pki))?;
        // One log per run of the operator, so that it cannot fill the disk.
        let log = folder.join("etcd.log");
        prepare(&log, private_file::write(&log, ""))?;
        let ports = ports_file(&folder);
        let ports = Ports::choose(&ports).map_err(|source| EtcdError::Prepare { path: ports, source })?;
        credentials::renew(&pki)?;
        let program = child::Program {
            path: binary::install(&folder)?,
            arguments: arguments(&folder.join("data"), ports, &credentials::server(&pki), quota),
            log,
        };
        Ok(PrivateEtcd {
            endpoint: endpoint(ports),
            credentials: credentials::client(&pki),
            child: child::Supervised::start(program).map_err(EtcdError::Thread)?,
        })
    }

    /// How to connect to it.
    pub fn cluster(&self) -> Cluster {
        cluster(&self.endpoint, &self.credentials)
    }

    /// Ends it and waits until it is gone.
    pub fn stop(&mut self) {
        self.child.stop();
    }
}

fn cluster(endpoint: &str, credentials: &Credentials) -> Cluster {
    let Credentials { ca, certificate, key } = credentials.clone();
    Cluster { endpoints: vec![endpoint.to_owned()], ca: Some(ca), certificate: Some(certificate), key: Some(key) }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("etcd")
}

fn ports_file(folder: &Path) -> PathBuf {
    folder.join("ports")
}

fn endpoint(ports: Ports) -> String {
    format!("https://127.0.0.1:{}", ports.client)
}

fn arguments(data: &Path, ports: Ports, credentials: &Credentials, quota: Option<u64>) -> Vec<String> {
    let client = endpoint(ports);
    let peer = format!("https://127.0.0.1:{}", ports.peer);
    let (ca, certificate, key) =
        (credentials.ca.display(), credentials.certificate.display(), credentials.key.display());
    let mut arguments = vec![
        "--name=operator".into(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=operator={peer}"),
        "--client-cert-auth=true".into(),
        format!("--trusted-ca-file={ca}"),
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        "--peer-client-cert-auth=true".into(),
        format!("--peer-trusted-ca-file={ca}"),
        format!("--peer-cert-file={certificate}"),
        format!("--peer-key-file={key}"),
        // A single member elects itself after one election timeout: the default of a second would only be waited out.
        "--heartbeat-interval=20".into(),
        "--election-timeout=200".into(),
        // Reports are written over and over: keep the newest 10,000 revisions for watches that resume.
        "--auto-compaction-mode=revision".into(),
        "--auto-compaction-retention=10000".into(),
        // An apply is one transaction, however many objects it has: nobody sees half of it.
        format!("--max-txn-ops={TRANSACTION_OPERATIONS}"),
        format!("--max-request-bytes={REQUEST_BYTES}"),
        "--log-level=warn".into(),
    ];
    arguments.extend(quota.map(|bytes| format!("--quota-backend-bytes={bytes}")));
    arguments
}
