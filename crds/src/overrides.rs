//! Override: a person's will, for a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, ModeKind, Resource};

/// A person's will for a time: a mode set, an uplink forced or failed. It wins over declared state until its time runs
/// out; the operator then removes it.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: Override
/// metadata: {name: rv-07-uplink}
/// spec:
///   site: rv-07
///   action: {forceUplink: starlink}
///   durationSeconds: 3600
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideSpec {
    /// The Site it holds for.
    pub site: String,
    pub action: OverrideAction,
    /// Seconds from when it was written, 1 to 2,592,000 (30 days); left out: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub duration_seconds: Option<u32>,
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OverrideAction {
    /// This mode, whatever the Mode objects say.
    Mode(ModeKind),
    /// This uplink is the active path of every class.
    ForceUplink(String),
    /// This uplink is neither the active path nor carries copies.
    FailUplink(String),
}

impl Resource for OverrideSpec {
    const KIND: Kind = Kind::Override;

    fn check(&self) -> Vec<(String, String)> {
        match self.duration_seconds {
            Some(seconds) if !(1..=2_592_000).contains(&seconds) => {
                vec![("durationSeconds".into(), "must be from 1 to 2592000 (30 days); leave it out for no end".into())]
            }
            _ => Vec::new(),
        }
    }
}
