//! Remotes of the shim: entries of a map, with windows and sequences per class.

use pathsteer_crds::plan::{PlanObjects, RemoteSpec};

use crate::noun::Noun;
use crate::{ChangeClass, PlanObject};

impl Noun for RemoteSpec {
    type Key<'a> = u32;

    fn key(&self) -> Self::Key<'_> {
        self.id
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        // The node's name is for people; no map holds it.
        let Self { id: _, node: _, address, anchor, classes } = self;
        (address, anchor, classes) == (&found.address, &found.anchor, &found.classes)
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("remote {} ({})", self.id, self.node)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.remotes
    }

    fn object(&self) -> PlanObject {
        PlanObject::Remote(self.clone())
    }
}
