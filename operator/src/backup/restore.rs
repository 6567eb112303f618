//! `restore`: a data folder as a backup shows it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pathsteer_crds::keys;

use super::{Archive, ArchiveError, PATIENCE};
use crate::controller::epoch;
use crate::data_dir::{self, DataDirError, RESTORING};
use crate::etcd::{EtcdError, PrivateEtcd};
use crate::pki::private_file;
use crate::store::{self, ConnectError, ListError, Write, WriteError, Writer};

/// What a data folder has that a restore brings anew, or that must not outlive what it was about.
const PARTS: [&str; 3] = ["etcd", "pki", "memory.json"];

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{0} has data already: give --replace to put it aside, or restore into another folder")]
    Occupied(PathBuf),
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the restored store cannot be read")]
    List(#[from] ListError),
    #[error("the restored store cannot be written")]
    Write(#[from] WriteError),
    #[error("the restored store does not hold what the backup does: nothing was changed")]
    Differs,
}

/// What was restored.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    pub keys: usize,
    /// When the backup was made, RFC 3339.
    pub created: String,
    /// Where the data that was there is now.
    pub aside: Option<PathBuf>,
}

/// Makes `data_dir` what the backup in `from` shows. All of it is put together and checked beside what is there, and
/// only then takes its place.
///
/// # Errors
/// The backup is damaged; an operator runs with the folder; it has data and `replace` is not set; something cannot be
/// written.
pub async fn restore(data_dir: &Path, from: &Path, replace: bool) -> Result<Restored, RestoreError> {
    let archive = Archive::read(from)?;
    let _lock = data_dir::lock(data_dir)?;
    let fresh = data_dir.join(RESTORING);
    let occupied: Vec<_> = PARTS.into_iter().filter(|part| data_dir.join(part).exists()).collect();
    if (!occupied.is_empty() || fresh.exists()) && !replace {
        return Err(RestoreError::Occupied(data_dir.to_owned()));
    }
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::File { path, source }
    };
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(file(&fresh))?;
    }
    private_file::folder(&fresh).map_err(file(&fresh))?;
    // Until something is moved, a failure leaves everything as it was.
    if let Err(error) = fill(&fresh, &archive).await {
        fs::remove_dir_all(&fresh).map_err(file(&fresh))?;
        return Err(error);
    }
    let aside = (!occupied.is_empty()).then(|| free_name(data_dir));
    if let Some(aside) = &aside {
        private_file::folder(aside).map_err(file(aside))?;
        for part in occupied {
            let path = data_dir.join(part);
            fs::rename(&path, aside.join(part)).map_err(file(&path))?;
        }
    }
    for part in ["etcd", "pki"] {
        let path = fresh.join(part);
        fs::rename(&path, data_dir.join(part)).map_err(file(&path))?;
    }
    fs::remove_dir_all(&fresh).map_err(file(&fresh))?;
    Ok(Restored { keys: archive.keys.len(), created: archive.created, aside })
}

/// Writes authority and store below `fresh`, and looks whether they are there.
async fn fill(fresh: &Path, archive: &Archive) -> Result<(), RestoreError> {
    let pki = fresh.join("pki");
    private_file::folder(&pki).map_err(|source| RestoreError::File { path: pki.clone(), source })?;
    for (name, text) in &archive.pki {
        let path = pki.join(name);
        private_file::write(&path, text).map_err(|source| RestoreError::File { path: path.clone(), source })?;
    }
    let keys = restored(archive);
    let mut etcd = PrivateEtcd::start(fresh, None)?;
    let written = async {
        let client = store::connect(&etcd.cluster()).await?;
        store::list_within(&client, PATIENCE).await?;
        Writer::new(&client, Arc::default())
            .commit(keys.iter().map(|(key, value)| Write::put(key, value)).collect())
            .await?;
        let found = store::list_within(&client, PATIENCE).await?;
        let same = found.entries.iter().map(|(key, entry)| (key.as_str(), &*entry.value));
        if same.eq(keys.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
            Ok(())
        } else {
            Err(RestoreError::Differs)
        }
    };
    let written = written.await;
    tokio::task::block_in_place(|| etcd.stop());
    written
}

/// The keys as they are restored. The store epoch goes up, because the new store's revisions begin at 1: what it
/// publishes must still be newer than what nodes have. And nobody is told that his plan is withdrawn by a store that may
/// not know what was declared since.
fn restored(archive: &Archive) -> std::collections::BTreeMap<String, String> {
    let mut keys = archive.keys.clone();
    let epoch = epoch::parse(keys.get(keys::EPOCH).map(String::as_str)) + 1;
    keys.insert(keys::EPOCH.to_owned(), epoch.to_string());
    keys.retain(|key, _| !key.ends_with("/plan/withdrawn"));
    keys
}

/// The first `replaced-N` that is free.
fn free_name(data_dir: &Path) -> PathBuf {
    let names = (1..).map(|n: u32| data_dir.join(format!("replaced-{n}")));
    names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| data_dir.join("replaced"))
}
