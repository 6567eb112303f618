//! Addresses: another address is another object, and so is made before the old one goes.

use ipnet::IpNet;
use pathsteer_crds::plan::{AddressSpec, PlanObjects};

use crate::ChangeClass;
use crate::noun::{Noun, place};

impl Noun for AddressSpec {
    type Key<'a> = (&'a str, &'a str, IpNet);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, &self.link, self.address)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("address {}/{} {}", place(&self.netns), self.link, self.address)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.addresses
    }
}
