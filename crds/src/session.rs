//! What agent and operator say to each other over the mutually authenticated session.
//!
//! The agent posts a [`Hello`], opens the plan stream (newline-delimited JSON of [`SessionEvent`]) from the revision
//! it last saw, and posts a [`crate::report::NodeReport`] whenever its state changes.

use serde::{Deserialize, Serialize};

use crate::identity::NodeIdentity;
use crate::plan::PlanRoot;

/// `POST` target of [`Hello`].
pub const HELLO_PATH: &str = "/v1/session/hello";
/// `GET` target of the plan stream; query `revision=N` resumes after N.
pub const PLAN_PATH: &str = "/v1/session/plan";
/// `POST` target of reports.
pub const REPORT_PATH: &str = "/v1/session/report";
/// Seconds between heartbeats of an idle plan stream; an agent that hears nothing for three of them dials anew.
pub const HEARTBEAT_SECONDS: u64 = 10;

/// First word of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    pub agent_version: String,
    /// Plan versions the agent reads.
    pub plan_versions: Vec<u32>,
    /// Order of the plan the agent has: the operator raises its store epoch above this one when its revisions ran
    /// backwards.
    pub store_epoch: u64,
    pub generation: i64,
    pub identity: NodeIdentity,
}

/// A line of the plan stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum SessionEvent {
    /// A fragment; `json` hashes to `sha256`. Sent before the root that names it.
    Fragment { sha256: String, json: String },
    /// A plan is complete; every fragment it names has been sent, in this stream or an earlier one.
    Root { revision: i64, root: PlanRoot },
    /// The plan was withdrawn (the Site or Anchor is gone).
    Gone { revision: i64 },
    /// Nothing happened.
    Heartbeat,
    /// What a later operator says, and this version does not know.
    #[serde(other)]
    Unknown,
}
