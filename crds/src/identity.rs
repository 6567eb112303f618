//! What a node says about itself that the compiler needs: its public keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Facts about a node, reported by its agent when a session begins. Private halves never leave the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentity {
    /// WireGuard public key (base64, 32 bytes) per slot 1-8.
    pub wireguard_keys: BTreeMap<u8, String>,
    /// Another number means that the node has lost its memory, and with it how often its sequences began anew. Any will do but
    /// 0, which an agent that does not tell has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incarnation: u32,
}
