//! Sysctls of our namespaces.

use pathsteer_crds::plan::{PlanObjects, SysctlSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for SysctlSpec {
    type Key<'a> = (&'a str, &'a str);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, &self.key)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.value == found.value
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    /// A namespace always has it, with one value or another.
    fn removable(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        format!("sysctl {} {}", self.netns, self.key)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.sysctls
    }
}
