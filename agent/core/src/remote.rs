//! Remotes of the shim: entries of a map, with windows and sequences per class.

use pathsteer_crds::plan::{PlanObjects, RemoteSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for RemoteSpec {
    type Key<'a> = u32;

    fn key(&self) -> Self::Key<'_> {
        self.id
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        // The node's name is for people; no map holds it.
        let Self { id: _, node: _, address, anchor, identity, slots, classes } = self;
        (address, anchor, identity) == (&found.address, &found.anchor, &found.identity)
            && (slots, classes) == (&found.slots, &found.classes)
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("remote {}", self.id)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.remotes
    }
}
