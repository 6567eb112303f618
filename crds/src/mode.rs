//! Mode: how eagerly a site copies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Resource};

/// How eagerly selected sites copy. Of the modes that name a site the one with the lowest name wins over those that name
/// none.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Mode
/// metadata: {name: fleet}
/// spec:
///   mode: mirror
///   copies: 1
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModeSpec {
    /// Sites it holds for; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    pub mode: ModeKind,
    /// How many further paths carry a copy while copying: 1 to 3, default 1. Each costs the traffic once more.
    #[serde(default = "default_copies")]
    #[schemars(range(min = 1, max = 3))]
    pub copies: u8,
}

/// How eagerly a site copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ModeKind {
    /// Observes only; no copies.
    #[default]
    Training,
    /// Copies when a trigger fires.
    Tripwire,
    /// Always copies.
    Mirror,
}

fn default_copies() -> u8 {
    1
}

impl Resource for ModeSpec {
    const KIND: Kind = Kind::Mode;

    fn check(&self) -> Vec<(String, String)> {
        if (1..=3).contains(&self.copies) {
            Vec::new()
        } else {
            vec![("copies".into(), format!("{} is out of range: 1 to 3 further paths", self.copies))]
        }
    }
}
