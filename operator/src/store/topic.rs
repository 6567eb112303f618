//! What a key is about, for those who wait for changes.

use pathsteer_crds::keys;

/// Groups of keys somebody waits for. Keys the operator only writes (status, admitted, fragments) belong to none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Whatever plans are compiled from: specs and what people say of their deletion, allocations and store epoch,
    /// identities.
    Inputs,
    /// What nodes say about themselves.
    Reports,
    /// One node's plan: root or withdrawal.
    Plan(String),
}

impl Topic {
    /// The topic of `key`.
    pub fn of(key: &str) -> Option<Topic> {
        let below = key.strip_prefix(keys::ROOT)?;
        let folders = ["spec/", "deleting/", "allocations/"];
        if folders.iter().any(|folder| below.starts_with(folder)) || key == keys::GUARD {
            return Some(Topic::Inputs);
        }
        let (node, rest) = below.strip_prefix("nodes/")?.split_once('/')?;
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
    use pathsteer_crds::Kind;

    #[test]
    fn every_key_has_the_topic_of_those_who_wait_for_it() {
        assert_eq!(Topic::of(&keys::spec(Kind::Uplink, "rv-07/fiber")), Some(Topic::Inputs));
        assert_eq!(Topic::of(keys::ALLOCATIONS), Some(Topic::Inputs));
        assert_eq!(Topic::of(keys::EPOCH), Some(Topic::Inputs));
        assert_eq!(Topic::of(keys::GUARD), Some(Topic::Inputs));
        assert_eq!(Topic::of(&keys::deleting(Kind::Site, "rv-07")), Some(Topic::Inputs));
        assert_eq!(Topic::of(&keys::identity("rv-07")), Some(Topic::Inputs));
        assert_eq!(Topic::of(&keys::report("rv-07")), Some(Topic::Reports));
        assert_eq!(Topic::of(&keys::plan_root("rv-07")), Some(Topic::Plan("rv-07".into())));
        assert_eq!(Topic::of(&keys::plan_withdrawn("rv-07")), Some(Topic::Plan("rv-07".into())));
        assert_eq!(Topic::of(&keys::plan_fragment("rv-07", "00")), None);
        assert_eq!(Topic::of(&keys::status(Kind::Site, "rv-07")), None);
        assert_eq!(Topic::of("/elsewhere"), None);
    }
}
