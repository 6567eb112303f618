//! Prefixes behind remotes: entries of a longest-match map.

use ipnet::IpNet;
use pathsteer_crds::plan::{PlanObjects, PrefixSpec};

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

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("prefix {}", self.prefix)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.prefixes
    }
}
