//! BPF programs on the ingress of links.

use pathsteer_crds::plan::{PlanObjects, ProgramSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for ProgramSpec {
    type Key<'a> = (&'a str, &'a str);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, &self.link)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        (self.program, self.slot) == (found.program, found.slot)
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // The attached program is swapped for another in one step.
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("program {}/{}", self.netns, self.link)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.programs
    }
}
