//! `confirm-deletion`: lets go what has vanished from the store and is kept in force.

use std::path::Path;
use std::sync::Arc;

use pathsteer_crds::keys;

use crate::etcd::{EnvironmentError, running};
use crate::store::{self, ConnectError, Health, Write, WriteError, Writer};

/// Why nothing was confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    #[error(transparent)]
    Absent(#[from] EnvironmentError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the store does not take it: does the operator run?")]
    Write(#[from] WriteError),
    #[error("nothing is kept in force that has vanished: there is nothing to confirm")]
    Nothing,
}

/// Confirms what the guard of the operator with `data_dir` withholds at this moment. Returns what that is, as its key says.
///
/// # Errors
/// There is nothing; the guard changed meanwhile; the private etcd does not answer.
pub async fn confirm(data_dir: &Path) -> Result<String, ConfirmError> {
    let client = store::connect(&running(data_dir)?).await?;
    let writer = Writer::new(&client, Arc::new(Health::default()));
    let guard = writer.read(keys::GUARD).await?;
    let withheld = guard.value.ok_or(ConfirmError::Nothing)?;
    writer.commit(vec![Write::put(keys::GUARD, keys::CONFIRMED).if_at(guard.mod_revision)]).await?;
    Ok(withheld)
}
