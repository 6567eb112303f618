//! What a node says about itself that the compiler needs: its public keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Facts about a node, reported by its agent when a session begins. Private halves never leave the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentity {
    /// WireGuard public key (base64, 32 bytes) per slot 1-8.
    pub wireguard_keys: BTreeMap<u8, String>,
}
