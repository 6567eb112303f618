//! Backup and restore of an operator with its private etcd: everything of ours in the store at one revision, and the
//! certificate authority, without which no node and no user would know the operator again.
//!
//! A backup is logical, not a copy of etcd's files: it needs no tool of etcd's to be restored, any version of etcd takes
//! it, and it can be read by people. What it cannot carry are revisions; so a restored store has a higher store epoch,
//! which makes its plans newer than any given out before.

mod archive;
mod restore;
mod save;

pub use archive::{Archive, ArchiveError};
pub use restore::{RestoreError, restore};
pub use save::{SaveError, save};

use std::time::Duration;

/// How long etcd may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(30);
