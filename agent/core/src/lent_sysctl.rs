//! Sysctls of links in the node's own namespace.

use pathsteer_crds::plan::{LentSysctlSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for LentSysctlSpec {
    type Key<'a> = &'a str;

    fn key(&self) -> Self::Key<'_> {
        &self.key
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.value == found.value
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("sysctl {}", self.key)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.lent_sysctls
    }
}
