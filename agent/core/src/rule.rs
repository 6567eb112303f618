//! Rules of policy routing.

use pathsteer_crds::plan::{Family, PlanObjects, RuleSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for RuleSpec {
    type Key<'a> = (&'a str, Family, u32);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, self.family, self.priority)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // The kernel cannot replace a rule, but holds two of one priority: add the new one, then delete the old one.
        ChangeClass::MakeBeforeBreak
    }

    fn name(&self) -> String {
        let family = match self.family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        format!("rule {} {family} {}", self.netns, self.priority)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.rules
    }
}
