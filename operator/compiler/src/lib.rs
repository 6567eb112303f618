//! From what people declared to what each node carries out: `compile(&Inventory)` gives one plan per node, the numbers
//! allocated for them, and diagnostics.
//!
//! Pure: no clock, no input or output, no random source, and nothing whose order depends on a hash. The same inventory
//! always gives the same bytes, also of a [`Compiler`] that remembers what it made before.
//!
//! `admit` in the file of a kind decides whether an object takes part; `edge`, `anchor` and `anchor_for_site` in the
//! file of a plan noun say what that noun looks like on a node. [`check`] reads a finished plan with other eyes.

mod address;
mod allocate;
mod anchor;
mod check;
mod claim;
mod compile;
mod datapath;
mod diagnostics;
mod fabric;
mod identity;
mod interface;
mod inventory;
mod link;
mod mode;
mod mtu;
mod netns;
mod nft;
mod overrides;
mod pool;
mod reason;
mod resolve;
mod route;
mod rule;
mod site;
mod steering;
mod traffic_policy;
mod uplink;
mod vlan;
mod wireguard;

pub use allocate::Allocations;
pub use check::{CheckFinding, check};
pub use compile::{Compiled, CompiledPlan, Compiler, compile};
pub use diagnostics::{Diagnostic, Severity};
pub use inventory::Inventory;
pub use reason::Reason;
