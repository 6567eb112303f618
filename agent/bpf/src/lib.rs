//! The BPF programs, their maps, and the structs that programs and agent share.
//!
//! Guarantees: maps and attachments are pinned, so that the datapath runs on while the agent is down; opening again
//! adopts what is pinned and never clears sequences or windows.
//! Assumptions: a bpffs that outlives the agent, clang-built programs inside this binary.

mod attach;
mod clsact;
pub mod control;
mod datapath;
pub mod layout;
mod link;
mod maps;
mod netlink;
pub mod offload;
mod program;
pub mod selftest;
mod takeover;

pub use attach::{HOOK_VARIABLE, Hook};
pub use datapath::{Datapath, Error, is_attachment_pinned, is_pinned, unpin_all};
pub use maps::Maps;
pub use program::{Attachments, Kind, Programs, Trial, attached};
pub use takeover::{Ways, begin_anew, take_over};

/// The compiled programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pathsteer.bpf.o"));
/// What the self-test needs besides.
static SELFTEST_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/selftest.bpf.o"));
