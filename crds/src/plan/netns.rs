//! Namespaces and their sysctls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network namespace, found under `/run/netns/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetnsSpec {
    pub name: String,
}

/// A sysctl of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SysctlSpec {
    pub netns: String,
    /// Path below `/proc/sys/`, such as `net/ipv4/ip_forward`.
    pub key: String,
    pub value: String,
}
