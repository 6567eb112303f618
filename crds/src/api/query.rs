//! What may stand in the query of a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LogCursor;

/// Which objects of a kind, and how many at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQuery {
    /// Labels, such as `region=west,tier!=gold,env in (a,b),!old`; all of it must hold.
    pub label_selector: String,
    /// Fields, such as `spec.kind=starlink,metadata.site!=rv-07,status.conditions.Ready=False`; all of it must hold.
    pub field_selector: String,
    /// Objects in one answer, 1 to 10,000; left out: all of them.
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: Option<usize>,
    /// What the answer before said under `continue`.
    #[serde(rename = "continue")]
    pub after: Option<String>,
}

/// Which changes of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WatchQuery {
    /// As in a list.
    pub label_selector: String,
    /// As in a list.
    pub field_selector: String,
    /// Only what came after this revision, as a list or the last line of a watch said; left out: first everything there
    /// is, as added, then a bookmark.
    #[schemars(range(min = 0))]
    pub resource_version: Option<i64>,
}

/// How one object is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WriteQuery {
    /// Answer as if, and write nothing.
    pub dry_run: bool,
}

/// How one object is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeleteQuery {
    /// Answer as if, and delete nothing.
    pub dry_run: bool,
    /// Only if this is the object's `metadata.resourceVersion`.
    #[schemars(range(min = 0))]
    pub resource_version: Option<i64>,
}

/// How many objects are written at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApplyQuery {
    /// Say what would happen, also what the compiler would refuse, and write nothing.
    pub dry_run: bool,
    /// The source, such as a repository, whose objects these are, all of them: what it has declared before and declares no
    /// longer is deleted. 1 to 63 letters, digits, `-`, `_` and `.`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,63}$"))]
    pub prune: Option<String>,
    /// Also if that is more than a quarter of a kind.
    pub confirm_prune: bool,
    /// In a dry run: answer with the plan that this node would have.
    pub plan: Option<String>,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventQuery {
    /// Such as `kind=Site,name=rv-07,what=Ready`.
    pub field_selector: String,
    /// The newest so many, 1 to 10,000; left out: all.
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: Option<usize>,
}

/// Which lines of an agent's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogQuery {
    /// Of those, the newest so many, 0 to 1,000; left out: all that the agent keeps.
    #[schemars(range(min = 0, max = 1_000))]
    pub tail: Option<usize>,
    /// Only what came after this place, as the answer before says under `next`. A restarted agent's lines all do.
    pub after: Option<LogCursor>,
}
