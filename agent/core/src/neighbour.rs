//! Permanent neighbours.

use std::net::IpAddr;

use pathsteer_crds::plan::{NeighbourSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::{Noun, place};

impl Noun for NeighbourSpec {
    type Key<'a> = (&'a str, &'a str, IpAddr);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, &self.link, self.address)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self.mac.eq_ignore_ascii_case(&found.mac)
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("neighbour {}/{} {}", place(&self.netns), self.link, self.address)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.neighbours
    }
}
