//! Every type that crosses a process boundary: the kinds an operator writes, the plan an agent carries out, the
//! report it sends back, and the formats (marks, keys, ownership numbers) all of them agree on.
//!
//! One kind per file. Manifests are strict (unknown fields are errors), plans and reports are tolerant (an older
//! reader ignores what a newer writer added inside a known version).

pub mod api;
pub mod canonical;
pub mod identity;
pub mod keys;
pub mod manifest;
pub mod mark;
pub mod merge_patch;
pub mod meta;
pub mod ownership;
pub mod plan;
pub mod plumbing;
pub mod reference;
pub mod report;
pub mod schema;
pub mod selector;
pub mod session;

mod anchor;
mod fabric;
mod interface;
mod kind;
mod log;
mod mode;
mod overrides;
mod profile;
mod site;
mod traffic_policy;
mod uplink;
mod vlan;

pub use anchor::{AnchorEndpoint, AnchorSpec, Egress, InternetInterface};
pub use fabric::FabricSpec;
pub use interface::Interface;
pub use kind::{AnyObject, Kind, Object, Resource};
pub use log::{LOG_LINES, LogCursor, LogLevel, LogLine, LogPage, NotACursor};
pub use mode::{ModeKind, ModeSpec};
pub use overrides::{OverrideAction, OverrideSpec};
pub use profile::Profile;
pub use site::SiteSpec;
pub use traffic_policy::{Match, PortRange, Protocol, TrafficPolicySpec, Treatment};
pub use uplink::{AddressMethod, Attach, CopyBudget, UplinkKind, UplinkSpec};
pub use vlan::{SegmentTreatment, VlanSpec};
