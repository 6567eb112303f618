//! Canonical JSON and the content address of a plan fragment.
//!
//! Canonical here means: object keys sorted by code point, no insignificant whitespace, numbers as serde_json writes
//! them. Plans hold integers and strings only, so RFC 8785's number rules never come into play.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// `value` as canonical JSON.
///
/// # Panics
/// Never for the types of this crate: their maps have string keys and no value refuses to serialize.
pub fn to_json<T: Serialize>(value: &T) -> String {
    // Through `Value`, whose map is a BTreeMap, so that field order in the source does not reach the hash.
    let value = serde_json::to_value(value).expect("types of this crate always serialize");
    value.to_string()
}

/// Lower-case hexadecimal SHA-256 of `bytes`: the name of a plan fragment.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_come_out_sorted_whatever_the_order_of_the_fields() {
        #[derive(serde::Serialize)]
        struct Unsorted {
            b: u8,
            a: u8,
        }
        assert_eq!(super::to_json(&Unsorted { b: 1, a: 2 }), r#"{"a":2,"b":1}"#);
    }
}
