//! What the switching machine of an edge works with.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ModeKind;

/// An uplink as a path; also the order in which the agent dials its operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathSpec {
    pub slot: u8,
    /// The Uplink's name, for people.
    pub name: String,
    /// The uplink's namespace.
    pub netns: String,
    /// Lower is preferred.
    pub cost: u16,
    /// Who resolves names there, instead of those that its network names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub resolvers: Vec<IpAddr>,
    /// Bytes over it cost money.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metered: bool,
}

/// How one steering class towards one remote is steered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SteeringSpec {
    /// The remote's node index.
    pub remote: u32,
    /// 1 to 15.
    pub class: u8,
    pub class_name: String,
    pub mode: ModeKind,
    /// How many further paths carry copies while copying, 1 to 3; 0 for a service class, which is never copied.
    pub copies: u8,
    /// Slots that have a tunnel to this remote, preferred first.
    pub slots: Vec<u8>,
    /// A person wants this slot active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<u8>,
    /// A person wants these slots unused; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<u8>,
}

/// How long a plan whose underlay differs from the one before may leave the node without its operator. At most one a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadManSpec {
    /// After so many seconds the plan before comes back; 0 never.
    pub seconds: u32,
}
