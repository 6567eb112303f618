//! What the API says no with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A refusal (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProblemItem {
    /// Kind and key, such as `Uplink rv-07/fiber`.
    pub object: String,
    /// Such as `spec.slot`; empty when the object as a whole is meant.
    pub field: String,
    pub message: String,
}
