//! What agent and operator say to each other over the mutually authenticated session.
//!
//! The agent posts a [`Hello`], opens the plan stream (newline-delimited JSON of [`SessionEvent`]) from the revision
//! it last saw, and posts a [`crate::report::NodeReport`] whenever its state changes. The answer's `ETag` names what the
//! operator then has; the next report may be a PATCH with that name in `If-Match` and, as JSON merge patch (RFC 7396), what
//! has changed since. 412 says that the operator has something else, any other refusal of a PATCH that it knows none:
//! either way the whole is posted. What the operator asks in the plan stream, the agent posts the answer to.

use serde::{Deserialize, Serialize};

use crate::identity::NodeIdentity;
use crate::plan::PlanRoot;
use crate::{LogCursor, LogPage};

/// `POST` target of [`Hello`].
pub const HELLO_PATH: &str = "/v1/session/hello";
/// `GET` target of the plan stream; query `revision=N` resumes after N.
pub const PLAN_PATH: &str = "/v1/session/plan";
/// `POST` target of whole reports, `PATCH` target of changes.
pub const REPORT_PATH: &str = "/v1/session/report";
/// `POST` target of [`LogAnswer`].
pub const LOG_PATH: &str = "/v1/session/log";
/// Seconds between heartbeats of an idle plan stream, unless the agent wishes for fewer of them in its [`Hello`]; an agent
/// that has heard nothing for 20 s more than that dials anew.
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
    /// How long the plan stream may be silent before there is a heartbeat, seconds, 1 to 600; absent: [`HEARTBEAT_SECONDS`].
    /// Where bytes cost money, fewer are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_seconds: Option<u64>,
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
    /// Somebody wants to see what the agent has logged after this place, of that the newest so many lines. The answer is a
    /// [`LogAnswer`]; an agent of a version before has none.
    #[serde(rename_all = "camelCase")]
    Log {
        request: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<LogCursor>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail: Option<usize>,
    },
    /// Nothing happened.
    Heartbeat,
    /// What a later operator says, and this version does not know.
    #[serde(other)]
    Unknown,
}

/// What an agent answers to [`SessionEvent::Log`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogAnswer {
    /// The number of the request.
    pub request: u64,
    pub page: LogPage,
}
