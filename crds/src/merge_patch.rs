//! JSON merge patches (RFC 7396): what of a report changed. Lists are replaced as a whole.

use serde_json::{Map, Value};

/// The patch that turns `old` into `new`; none if there is nothing to change. A null in an object counts as absent, as the
/// format wants it: our types read both alike.
pub fn between(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let there = |value: &&Value| !value.is_null();
    let mut patch = Map::new();
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let changed = match (before.get(key).filter(there), after.get(key).filter(there)) {
            (Some(before), Some(after)) => between(before, after),
            (None, Some(after)) => Some(after.clone()),
            (Some(_), None) => Some(Value::Null),
            (None, None) => None,
        };
        patch.extend(changed.map(|changed| (key.clone(), changed)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// `target` with `patch` applied.
pub fn apply(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            let before = target.remove(&key).unwrap_or(Value::Null);
            target.insert(key, apply(before, value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(target, patch), result);
        }
    }

    #[test]
    fn what_did_not_change_is_not_in_it() {
        let (old, new) = (json!({"a": [1], "b": {"c": 1, "d": 2}, "e": 1}), json!({"a": [1], "b": {"c": 1, "d": 3}}));
        assert_eq!(between(&old, &new), Some(json!({"b": {"d": 3}, "e": null})));
        assert_eq!(between(&old, &old), None);
        assert_eq!(between(&json!({"a": 1}), &json!({"a": 1, "b": null})), None, "null is absence");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3u8).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_between_two_turns_the_one_into_the_other(old in value(), new in value()) {
            let patched = match between(&old, &new) {
                Some(patch) => apply(old, patch),
                None => old,
            };
            prop_assert_eq!(patched, new);
        }
    }
}
