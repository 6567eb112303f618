//! etcd as the operator sees it: a copy of everything of ours in memory, kept current by a reflector, and writes that
//! succeed only on what was read.

mod connect;
mod disk;
mod health;
mod keeper;
mod mirror;
mod reflector;
mod topic;
mod write;

pub use connect::{Cluster, ConnectError, connect};
pub use disk::{Disk, DiskFull};
pub use health::{Concern, Health};
pub use keeper::Keeper;
pub use mirror::{Deleted, Entries, Entry, Mirror, Snapshot, changed};
pub use reflector::{ListError, list_within, reflect};
pub use topic::Topic;
pub use write::{Write, WriteError, Writer};
