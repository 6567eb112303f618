//! What the API answers, for both sides of it. Objects themselves are [`AnyObject`]s.

use serde::{Deserialize, Serialize};

use crate::plan::Role;
use crate::report::NodeReport;
use crate::{AnyObject, Kind};

/// Answer of a list, and with `items` alone the body of an apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T = AnyObject> {
    pub items: Vec<T>,
    /// The store revision the list is of; absent in a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<i64>,
}

/// Answer of `POST /v1/apply`, in the order of the request; what was pruned comes last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub results: Vec<ApplyResult>,
    pub resource_version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    pub kind: Kind,
    /// The object's key: `<site>/<name>` for Uplink and Vlan.
    pub name: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    /// Its source declares it no longer.
    Deleted,
}

/// Answer of `GET /v1/nodes/{node}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    pub name: String,
    pub role: Role,
    /// The agent has its plan stream open.
    pub connected: bool,
    /// The plan last published, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PublishedPlan>,
    /// What the agent last reported, if it ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<NodeReport>,
    /// When that report came, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<String>,
}

/// Which plan is in the store: what orders it, see [`crate::plan::NodePlan::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedPlan {
    pub store_epoch: u64,
    pub generation: i64,
}

/// A refusal (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// What went wrong, in a few words.
    pub title: String,
    /// What exactly, and what to do about it.
    pub detail: String,
    /// One entry for everything that was wrong in a batch; empty otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
}

/// What is wrong with one object of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemItem {
    /// Kind and key, such as `Uplink rv-07/fiber`.
    pub object: String,
    /// Such as `spec.slot`; empty when the object as a whole is meant.
    pub field: String,
    pub message: String,
}
