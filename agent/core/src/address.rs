//! Addresses: another address is another object, and so is made before the old one goes.

use ipnet::IpNet;
use pathsteer_crds::plan::{AddressSpec, PlanObjects};

use crate::noun::Noun;
use crate::{ChangeClass, PlanObject};

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
        format!("address {}/{} {}", self.netns, self.link, self.address)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.addresses
    }

    fn object(&self) -> PlanObject {
        PlanObject::Address(self.clone())
    }
}
