//! Namespaces: there or not, nothing about them differs.

use pathsteer_crds::plan::{NetnsSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for NetnsSpec {
    type Key<'a> = &'a str;

    fn key(&self) -> Self::Key<'_> {
        &self.name
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("netns {}", self.name)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.netns
    }
}
