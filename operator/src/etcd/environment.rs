//! What a person needs to use etcdctl on the private etcd.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Credentials, Ports, cluster, credentials, endpoint, folder, ports_file};
use crate::store::Cluster;

/// Why there is nothing to export.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{0} has no private etcd: start `pathsteer-operator run` with this --data-dir first")]
    Absent(PathBuf),
    #[error("cannot find out the full path of {path}")]
    Path { path: PathBuf, source: std::io::Error },
}

/// How to connect to the private etcd of the operator that runs with `data_dir`.
///
/// # Errors
/// No operator has run with `data_dir` yet.
pub fn running(data_dir: &Path) -> Result<Cluster, EnvironmentError> {
    let (endpoint, client) = found(data_dir)?;
    Ok(cluster(&endpoint, &client))
}

fn found(data_dir: &Path) -> Result<(String, Credentials), EnvironmentError> {
    let data_dir =
        data_dir.canonicalize().map_err(|source| EnvironmentError::Path { path: data_dir.to_owned(), source })?;
    let folder = folder(&data_dir);
    let ports = Ports::remembered(&ports_file(&folder)).ok_or(EnvironmentError::Absent(data_dir))?;
    Ok((endpoint(ports), credentials::client(&folder.join("pki"))))
}

/// Shell exports for Debian's etcdctl (3.4 speaks API 3 by default), one per line.
///
/// # Errors
/// No operator has run with `data_dir` yet.
pub fn shell_exports(data_dir: &Path) -> Result<String, EnvironmentError> {
    let (endpoint, client) = found(data_dir)?;
    let mut exports = String::new();
    for (name, value) in [
        ("ETCDCTL_API", "3".to_owned()),
        ("ETCDCTL_ENDPOINTS", endpoint),
        ("ETCDCTL_CACERT", client.ca.display().to_string()),
        ("ETCDCTL_CERT", client.certificate.display().to_string()),
        ("ETCDCTL_KEY", client.key.display().to_string()),
    ] {
        // Single quotes keep every character but themselves.
        let quoted = value.replace('\'', r"'\''");
        writeln!(exports, "export {name}='{quoted}'").expect("a String takes everything");
    }
    Ok(exports)
}
