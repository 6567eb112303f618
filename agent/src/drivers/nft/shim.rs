//! How rules know what the shim's programs have had in their hands: by its mark. Nothing brings one along from outside
//! (the programs clear it, another namespace's does not come over) and no local process may set one.

use pathsteer_crds::mark;
use serde_json::Value;

use super::words::{is_not, masked, meta};

/// Putting a shim on puts the path into the mark.
pub fn is_shimmed() -> Value {
    is_not(masked(meta("mark"), mark::SLOT_MASK), 0)
}

/// Taking the shim off puts its class into the mark, and no path.
pub fn came_in_a_shim() -> Value {
    is_not(masked(meta("mark"), mark::CLASS_MASK), 0)
}
