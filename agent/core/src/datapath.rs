//! The shim's maps: at most one set a node, so there is no key.

use pathsteer_crds::plan::{DatapathSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for DatapathSpec {
    type Key<'a> = ();

    fn key(&self) -> Self::Key<'_> {}

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, found: &Self) -> ChangeClass {
        let Self { netns, role, address: _, probe_base: _, window_packets } = self;
        // The addresses are an entry of a map. The others decide which maps and programs there are, and how large.
        if (netns, role, window_packets) == (&found.netns, &found.role, &found.window_packets) {
            ChangeClass::InPlace
        } else {
            ChangeClass::Disruptive
        }
    }

    fn name(&self) -> String {
        format!("datapath {}", self.netns)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.datapath
    }
}
