//! Rules of policy routing.

use pathsteer_crds::plan::{Family, PlanObjects, RuleSpec};

use crate::ChangeClass;
use crate::noun::{Noun, place};

impl Noun for RuleSpec {
    /// Several rules of one priority differ in what they match.
    type Key<'a> = (&'a str, Family, u32, Option<&'a str>, Option<(u32, u32)>);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, self.family, self.priority, self.iif.as_deref(), self.fwmark)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.action == found.action
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // The kernel cannot replace a rule, but holds two that match the same: add the new one, then delete the old one.
        ChangeClass::MakeBeforeBreak
    }

    fn name(&self) -> String {
        let family = match self.family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        let mut name = format!("rule {} {family} {}", place(&self.netns), self.priority);
        if let Some((mark, mask)) = self.fwmark {
            name += &format!(" fwmark {mark:#x}/{mask:#x}");
        }
        if let Some(link) = &self.iif {
            name += &format!(" iif {link}");
        }
        name
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.rules
    }
}
