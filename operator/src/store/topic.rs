//! What a key is about, for those who wait for changes.

use pathsteer_crds::{Kind, keys};

/// Groups of keys somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Whatever plans are compiled from: specs, allocations and store epoch, identities.
    Inputs,
    /// What nodes say about themselves.
    Reports,
    /// One node's plan: root or withdrawal.
    Plan(String),
    /// Objects of a kind, as people see them: spec and status.
    Objects(Kind),
    /// What has happened to objects.
    Events,
}

impl Topic {
    /// The topics of `key`.
    pub fn of(key: &str) -> Vec<Topic> {
        if key == keys::GUARD {
            return vec![Topic::Inputs];
        }
        let Some((folder, rest)) = key.strip_prefix(keys::ROOT).and_then(|below| below.split_once('/')) else {
            return Vec::new();
        };
        let kind = || Kind::ALL.into_iter().find(|kind| rest.split('/').next() == Some(kind.plural()));
        match folder {
            "spec" => kind().map(Topic::Objects).into_iter().chain([Topic::Inputs]).collect(),
            "status" => kind().map(Topic::Objects).into_iter().collect(),
            "deleting" | "allocations" => vec![Topic::Inputs],
            "events" => vec![Topic::Events],
            "nodes" => rest.split_once('/').and_then(|(node, rest)| Topic::of_node(node, rest)).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn of_node(node: &str, rest: &str) -> Option<Topic> {
        match rest {
            "report/identity" => Some(Topic::Inputs),
            "report/status" => Some(Topic::Reports),
            "plan/root" | "plan/withdrawn" => Some(Topic::Plan(node.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_topic_of_those_who_wait_for_it() {
        let objects = Topic::Objects(Kind::Uplink);
        assert_eq!(Topic::of(&keys::spec(Kind::Uplink, "rv-07/fiber")), [objects.clone(), Topic::Inputs]);
        assert_eq!(Topic::of(&keys::status(Kind::Uplink, "rv-07/fiber")), [objects]);
        assert_eq!(Topic::of(keys::ALLOCATIONS), [Topic::Inputs]);
        assert_eq!(Topic::of(keys::EPOCH), [Topic::Inputs]);
        assert_eq!(Topic::of(keys::GUARD), [Topic::Inputs]);
        assert_eq!(Topic::of(&keys::deleting(Kind::Site, "rv-07")), [Topic::Inputs]);
        assert_eq!(Topic::of(&keys::identity("rv-07")), [Topic::Inputs]);
        assert_eq!(Topic::of(&keys::report("rv-07")), [Topic::Reports]);
        assert_eq!(Topic::of(&keys::plan_root("rv-07")), [Topic::Plan("rv-07".into())]);
        assert_eq!(Topic::of(&keys::plan_withdrawn("rv-07")), [Topic::Plan("rv-07".into())]);
        assert_eq!(Topic::of(&keys::event("2026")), [Topic::Events]);
        assert_eq!(Topic::of(&keys::plan_fragment("rv-07", "00")), []);
        assert_eq!(Topic::of(&keys::admitted(Kind::Site, "rv-07")), []);
        assert_eq!(Topic::of("/elsewhere"), []);
    }
}
