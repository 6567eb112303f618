//! The smallest fabric that compiles.

use serde_json::{Value, json};

pub fn object(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": "pathsteer.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

pub fn fabric() -> Value {
    object("Fabric", json!({"name": "default"}), json!({"overlay": "10.100.0.0/16"}))
}

pub fn anchor() -> Value {
    let internet = json!({"interface": "inet0", "addresses": ["198.51.100.1/24"]});
    object(
        "Anchor",
        json!({"name": "dal-a"}),
        json!({"endpoints": [{"address": "203.0.113.10"}], "internet": internet}),
    )
}

pub fn site() -> Value {
    object("Site", json!({"name": "rv-07"}), json!({"anchors": ["dal-a"], "prefixes": ["172.16.7.0/24"]}))
}

pub fn uplink(name: &str, slot: u8) -> Value {
    let spec = json!({"slot": slot, "kind": "fiber", "interface": format!("wan{slot}")});
    object("Uplink", json!({"site": "rv-07", "name": name}), spec)
}

pub fn mode(name: &str, copies: u8) -> Value {
    object("Mode", json!({"name": name}), json!({"mode": "mirror", "copies": copies}))
}

/// One anchor, one site, one uplink.
pub fn all() -> Value {
    json!({"items": [uplink("fiber", 1), site(), anchor(), fabric()]})
}
