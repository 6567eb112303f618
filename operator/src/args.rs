//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::pki::Party;
use crate::store::Cluster;

/// Keeps the fabric as declared: API, store, compiler, sessions of the nodes.
#[derive(Debug, Parser)]
#[command(name = "pathsteer-operator")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Run),
    /// Sign a certificate for a node or a user; works while the operator runs.
    Issue(Issue),
    /// Print shell exports for etcdctl and the private etcd: eval $(pathsteer-operator etcdctl-env --data-dir DIR)
    EtcdctlEnv {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Let go what has vanished from the private etcd and is kept in force; `GET /v1/readyz` says whether anything is.
    ConfirmDeletion {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Write a backup of certificate authority and private etcd to one file; works while the operator runs.
    Backup(Backup),
    /// Make a data folder from a backup. Nodes get their plans anew, and nothing is withdrawn from any.
    Restore(Restore),
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Where certificate authority and private etcd live; made if missing, readable by its owner only.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address and port of the API and the sessions.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7443")]
    pub listen: SocketAddr,
    /// A DNS name or address by which clients reach this operator, beside localhost; may be given several times.
    #[arg(long = "server-name", value_name = "NAME")]
    pub server_names: Vec<String>,
    #[command(flatten)]
    pub etcd: Etcd,
    /// How large the private etcd may become, bytes; left out: etcd's own 2 GiB. When it is full, old revisions are
    /// dropped, and if that is not enough, writes are refused.
    #[arg(long, value_name = "BYTES", conflicts_with = "etcd_endpoints", hide_short_help = true)]
    pub etcd_quota_bytes: Option<u64>,
}

/// An etcd cluster to use instead of the private one.
#[derive(Debug, Args)]
pub struct Etcd {
    /// Endpoints of an etcd cluster; left out: a private etcd is run.
    #[arg(long = "etcd", value_name = "URL,URL", value_delimiter = ',')]
    pub etcd_endpoints: Vec<String>,
    /// Certificate of the authority of that cluster.
    #[arg(long, value_name = "FILE", requires = "etcd_endpoints")]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate for that cluster.
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
}

impl Etcd {
    /// The cluster that was named, if one was.
    pub fn cluster(self) -> Option<Cluster> {
        let Etcd { etcd_endpoints: endpoints, etcd_ca: ca, etcd_cert: certificate, etcd_key: key } = self;
        (!endpoints.is_empty()).then_some(Cluster { endpoints, ca, certificate, key })
    }
}

#[derive(Debug, Args)]
pub struct Issue {
    /// Who it is for.
    pub party: Party,
    /// The node's name (of its Site or Anchor), or the user's.
    pub name: String,
    /// The certificate signing request, PEM; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub csr: PathBuf,
    /// Where the certificate goes; left out: standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The operator's data folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The operator's data folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where the backup goes, readable by its owner only: it holds the authority's private key.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The data folder to make; no operator may run with it.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Put data that is in the folder aside, into its subfolder replaced-1 (or -2 …).
    #[arg(long)]
    pub replace: bool,
}
