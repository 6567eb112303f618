//! What the API answers to good requests. Objects themselves are [`AnyObject`]s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{NodePlan, Role};
use crate::report::NodeReport;
use crate::{AnyObject, Kind};

/// Answer of a list, and with `items` alone the body of an apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct List<T = AnyObject> {
    pub items: Vec<T>,
    /// The store revision the list is of; absent in a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<i64>,
    /// There is more: ask again with this as `continue`. Pages follow each other by name, each as of its own revision.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> List<T> {
    /// Items without a revision: the body of a request.
    pub fn of(items: Vec<T>) -> List<T> {
        List { items, resource_version: None, next: None }
    }
}

/// Answer of `POST /v1/apply`, in the order of the request; what was pruned comes last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    pub results: Vec<ApplyResult>,
    /// The revision at which all of it stands in the store.
    pub resource_version: i64,
    /// In a dry run that asked for a node's plan: what it would be, or none if it would have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<NodePlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    pub kind: Kind,
    /// The object's key: `<site>/<name>` for Uplink and Vlan.
    pub name: String,
    pub outcome: Outcome,
    /// In a dry run: why the object would not become part of the plans; empty if it would.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    /// Its source declares it no longer.
    Deleted,
}

/// Answer of `GET /v1/nodes/{node}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedPlan {
    pub store_epoch: u64,
    pub generation: i64,
}

/// One way between a site and an anchor, as the site's agent last reported it. Answer of `GET /v1/paths`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathState {
    pub site: String,
    pub slot: u8,
    /// The Uplink in that slot; absent if there is none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    pub anchor: String,
    /// The site's agent is connected: what follows is not yesterday's.
    pub connected: bool,
    /// Its tunnel had a handshake in the last 180 s.
    pub up: bool,
    /// Seconds since that handshake when it was reported; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_seconds: Option<u64>,
    /// Steering classes that are sent by it.
    pub active: Vec<String>,
    /// Steering classes whose copies it carries.
    pub copies: Vec<String>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

/// Answer of `GET /v1/healthz` and `GET /v1/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`; anything else comes as a problem.
    pub status: String,
    /// The store revision that was read last; absent where it does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<i64>,
    /// What a person should look at although all goes on.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer of `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    pub version: String,
}
