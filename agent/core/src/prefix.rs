//! Prefixes behind remotes: entries of a longest-match map.

use ipnet::IpNet;
use pathsteer_crds::plan::{Behind, PlanObjects, PrefixSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for PrefixSpec {
    type Key<'a> = IpNet;

    fn key(&self) -> Self::Key<'_> {
        self.prefix
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.behind == found.behind
    }

    /// To another remote go flows that it does not know: the addresses that an anchor gave them are its own.
    fn class(&self, found: &Self) -> ChangeClass {
        match (self.behind, found.behind) {
            (Behind::Remote(_), Behind::Remote(_)) => ChangeClass::Disruptive,
            _ => ChangeClass::InPlace,
        }
    }

    fn is_turned(&self, _found: &Self) -> bool {
        true
    }

    fn name(&self) -> String {
        format!("prefix {}", self.prefix)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sweep;
    use crate::{Action, changes};

    #[test]
    fn a_prefix_that_goes_behind_another_anchor_is_written_over_and_costs_its_flows_their_anchor() {
        let behind = |behind| PlanObjects {
            prefixes: vec![PrefixSpec { prefix: "0.0.0.0/0".parse().unwrap(), behind }],
            ..PlanObjects::default()
        };
        let class = |before, after| {
            let planned = changes(&behind(after), &behind(before), Sweep::Everything);
            assert_eq!(planned.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::Update]);
            planned[0].class
        };
        assert_eq!(class(Behind::Remote(1), Behind::Remote(2)), ChangeClass::Disruptive);
        assert_eq!(class(Behind::Nowhere, Behind::Remote(2)), ChangeClass::InPlace);
    }
}
