//! Identities: the public keys that nodes have reported.

use std::collections::BTreeMap;

use pathsteer_crds::Kind;

use crate::diagnostics::Diagnostics;
use crate::inventory::Inventory;
use crate::reason::Reason;
use crate::resolve::Resolved;

/// Gives every site and anchor the keys its node has reported, and says which are still missing.
pub(crate) fn attach<'a>(inventory: &'a Inventory, resolved: &mut Resolved<'a>, diagnostics: &mut Diagnostics) {
    for anchor in resolved.common.anchors.values_mut() {
        (anchor.incarnation, anchor.keys) = reported(inventory, anchor.name);
    }
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut by_age: Vec<_> = resolved.sites.values_mut().collect();
    by_age.sort_by_key(|site| site.node);
    for site in by_age {
        (site.incarnation, site.keys) = reported(inventory, site.name);
        pending(Kind::Site, site.name, site.slots(), &site.keys, diagnostics);
        // Two nodes with one key: a disk was cloned. An anchor cannot tell them apart; the lower index is as a rule
        // the older site.
        let mut owner = None;
        site.keys.retain(|_, key| {
            let first = *owners.entry(key).or_insert(site.name);
            owner = owner.or(Some(first).filter(|first| *first != site.name));
            first == site.name
        });
        if let Some(owner) = owner {
            let message = format!(
                "its node reports the same WireGuard keys as `{owner}`: delete the key files of one of them and restart its agent"
            );
            diagnostics.warning(Kind::Site, site.name, Reason::KeysShared, message);
        }
    }
    for anchor in resolved.common.anchors.values() {
        pending(Kind::Anchor, anchor.name, resolved.slots_of(anchor).into_iter(), &anchor.keys, diagnostics);
    }
}

/// Incarnation and keys.
fn reported<'a>(inventory: &'a Inventory, node: &str) -> (u32, BTreeMap<u8, &'a str>) {
    let Some(identity) = inventory.identities.get(node) else { return (0, BTreeMap::new()) };
    let keys = identity.wireguard_keys.iter().map(|(slot, key)| (*slot, key.as_str()));
    (identity.incarnation, keys.filter(|(_, key)| is_public_key(key)).collect())
}

/// 32 bytes in base64 are 43 characters and one `=`.
fn is_public_key(key: &str) -> bool {
    let digits = key.strip_suffix('=').unwrap_or_default();
    digits.len() == 43 && digits.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/')
}

fn pending(
    kind: Kind,
    name: &str,
    slots: impl Iterator<Item = u8>,
    keys: &BTreeMap<u8, &str>,
    diagnostics: &mut Diagnostics,
) {
    let mut missing: Vec<u8> = slots.filter(|slot| !keys.contains_key(slot)).collect();
    missing.sort_unstable();
    if !missing.is_empty() {
        let slots: Vec<String> = missing.iter().map(u8::to_string).collect();
        let message = format!(
            "its node has not reported WireGuard keys for these slots: {}; no tunnel there until its agent has",
            slots.join(", ")
        );
        diagnostics.warning(kind, name, Reason::KeysPending, message);
    }
}

#[cfg(test)]
mod tests {
    use super::is_public_key;

    #[test]
    fn only_the_shape_of_32_bytes_in_base64_is_a_key() {
        assert!(is_public_key("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="));
        assert!(!is_public_key("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm="));
        assert!(!is_public_key("hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmoo"));
        assert!(!is_public_key(""));
    }
}
