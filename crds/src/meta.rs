//! What every object has beside its spec: names, labels, conditions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one version of the manifest format.
pub const API_VERSION: &str = "pathsteer.io/v1alpha1";

/// The label that says which source, such as a repository, declares an object: what it declares no longer is pruned.
pub const SOURCE_LABEL: &str = "pathsteer.io/source";

/// Who an object is. In a manifest only `name`, `site` (Uplink and Vlan) and `labels` may be written; the server
/// adds the rest when it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Lower-case letters, digits and `-`, 1 to 63 characters, starting and ending with a letter or digit (RFC 1123 label).
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// The Site this object belongs to: required for Uplink and Vlan, not allowed for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub site: Option<String>,
    /// Free labels, chosen by people, matched by `-l`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Set by the server: the store revision that last changed the spec. Sent back in a write, it makes the write
    /// conditional: it fails with a conflict if someone else wrote in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<i64>,
}

/// True, false, or not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// One statement about an object, with the reason in one word and in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Admitted` (the spec is valid and compiled), `Ready` (carried out, verified by observation, tunnels up), …
    #[serde(rename = "type")]
    pub kind: String,
    pub status: ConditionStatus,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people, with the fix where there is one.
    pub message: String,
    /// When `status` last changed, RFC 3339 in UTC.
    pub last_transition_time: String,
}

/// What the server says about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation (mod_revision of the spec key) these conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One of each type.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl Status {
    /// The condition of type `kind`, if there is one.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}
