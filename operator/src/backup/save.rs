//! `backup`: writes an [`Archive`] of a data folder, whether or not an operator runs with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Archive, PATIENCE};
use crate::data_dir::{self, DataDirError};
use crate::etcd::{EnvironmentError, EtcdError, PrivateEtcd, running};
use crate::pki::private_file;
use crate::store::{self, ConnectError, ListError};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Absent(#[from] EnvironmentError),
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the store cannot be read")]
    List(#[from] ListError),
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes a backup of `data_dir` to `out`, readable by its owner alone, whole or not at all. Returns how many keys it
/// holds, and of which revision.
///
/// # Errors
/// Nothing to back up, a store that does not answer, a file that cannot be read or written.
pub async fn save(data_dir: &Path, out: &Path) -> Result<(usize, i64), SaveError> {
    // Looked at first: a folder that is none must not be made one.
    let cluster = running(data_dir)?;
    // Whoever holds the lock runs etcd; while nobody does, it is run for as long as this takes.
    let (cluster, private) = match data_dir::lock_whole(data_dir) {
        Ok(lock) => {
            let etcd = PrivateEtcd::start(data_dir, None)?;
            (etcd.cluster(), Some((etcd, lock)))
        }
        Err(DataDirError::Taken(_)) => (cluster, None),
        Err(error) => return Err(error.into()),
    };
    let client = store::connect(&cluster).await?;
    let snapshot = store::list_within(&client, PATIENCE).await?;
    let pki = data_dir.join("pki");
    let read = |path: &Path| fs::read_to_string(path);
    let mut archive = Archive {
        created: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        revision: snapshot.revision,
        ..Archive::default()
    };
    for entry in fs::read_dir(&pki).map_err(|source| SaveError::Read { path: pki.clone(), source })? {
        let path = entry.map_err(|source| SaveError::Read { path: pki.clone(), source })?.path();
        let text = read(&path).map_err(|source| SaveError::Read { path: path.clone(), source })?;
        archive.pki.extend(path.file_name().and_then(|name| name.to_str()).map(|name| (name.to_owned(), text)));
    }
    archive.keys = snapshot.entries.into_iter().map(|(key, entry)| (key, entry.value.to_string())).collect();
    private_file::write(out, &archive.to_text()).map_err(|source| SaveError::Write { path: out.to_owned(), source })?;
    if let Some((mut etcd, _lock)) = private {
        tokio::task::block_in_place(|| etcd.stop());
    }
    Ok((archive.keys.len(), archive.revision))
}
